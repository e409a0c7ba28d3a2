/*
 * Requests about attributes that are answered without Python, where the inode's descriptor is open.
 */

#include "attributes.h"

#include "fuse.h"
#include "nodes.h"
#include "replies.h"
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include <linux/limits.h>

#define CAPABILITY "security.capability"

int fusecopy_answer_getattr(struct fusecopy_request *request)
{
	const uint64_t number = request->header->nodeid;
	struct fusecopy_entry entry = { .number = 0 };
	struct fusecopy_use use;
	int error;

	if (!fusecopy_begin_use(&use, number))
		return FUSECOPY_LEFT;
	error = fusecopy_stat(use.descriptor, &entry);
	fusecopy_end_use(&use);
	if (error) {
		fusecopy_reply_error(request, -error);
	} else {
		entry.number = number;
		fusecopy_reply_attr(request, &entry);
	}
	return FUSECOPY_ANSWERED;
}

int fusecopy_answer_statx(struct fusecopy_request *request)
{
	struct fusecopy_entry entry = { .number = 0 };
	struct timespec born;
	struct fusecopy_use use;
	int error, is_known;

	if (!fusecopy_begin_use(&use, request->header->nodeid))
		return FUSECOPY_LEFT;
	error = fusecopy_stat(use.descriptor, &entry);
	is_known = fusecopy_born(use.descriptor, &born);
	fusecopy_end_use(&use);
	entry.number = request->header->nodeid;
	if (error)
		fusecopy_reply_error(request, -error);
	else
		fusecopy_reply_statx(request, &entry, is_known ? &born : NULL);
	return FUSECOPY_ANSWERED;
}

/* Before it writes into a file, or has a copy go there, the kernel asks whether it has capabilities to lose
 * (fs/fuse/file.c and cap_inode_need_killpriv). Other names may be the server's own. */
int fusecopy_answer_getxattr(struct fusecopy_request *request)
{
	const struct fuse_getxattr_in *in = request->arguments;
	char path[32], value[XATTR_SIZE_MAX];
	struct fusecopy_use use;
	ssize_t got;
	int error;

	if (strcmp(request->payload, CAPABILITY) != 0 || !fusecopy_begin_use(&use, request->header->nodeid))
		return FUSECOPY_LEFT;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", use.descriptor);
	got = getxattr(path, CAPABILITY, value, in->size < sizeof(value) ? in->size : sizeof(value));
	error = errno;
	fusecopy_end_use(&use);
	if (got < 0)
		fusecopy_reply_error(request, error);
	else if (in->size == 0)
		fusecopy_reply_size(request, got);
	else
		fusecopy_reply_data(request, value, got);
	return FUSECOPY_ANSWERED;
}
