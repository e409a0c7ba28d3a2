/*
 * Requests about attributes that are answered without Python, where the inode's descriptor is open.
 */

#include "attributes.h"

#include "fuse.h"
#include "borrowing.h"
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
	struct fusecopy_inode *inode;
	int error;

	if (!(inode = fusecopy_borrow(number)))
		return FUSECOPY_LEFT;
	error = fusecopy_stat(inode->descriptor, &entry);
	fusecopy_give_back(inode);
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
	struct fusecopy_inode *inode;
	int error, is_known;

	if (!(inode = fusecopy_borrow(request->header->nodeid)))
		return FUSECOPY_LEFT;
	error = fusecopy_stat(inode->descriptor, &entry);
	is_known = fusecopy_born(inode->descriptor, &born);
	fusecopy_give_back(inode);
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
	struct fusecopy_inode *inode;
	ssize_t got;
	int error;

	if (strcmp(request->payload, CAPABILITY) != 0 || !(inode = fusecopy_borrow(request->header->nodeid)))
		return FUSECOPY_LEFT;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", inode->descriptor);
	got = getxattr(path, CAPABILITY, value, in->size < sizeof(value) ? in->size : sizeof(value));
	error = errno;
	fusecopy_give_back(inode);
	if (got < 0)
		fusecopy_reply_error(request, error);
	else if (in->size == 0)
		fusecopy_reply_size(request, got);
	else
		fusecopy_reply_data(request, value, got);
	return FUSECOPY_ANSWERED;
}
