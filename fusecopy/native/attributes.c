/*
 * Requests about attributes that are answered without Python, where the inode's descriptor is open.
 */

#include "nodes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include <linux/limits.h>

#define CAPABILITY "security.capability"

int fusecopy_answer_getattr(fuse_req_t req, fuse_ino_t number)
{
	struct fusecopy_entry entry = { .number = 0 };
	struct fusecopy_use use;
	int error;

	if (!fusecopy_begin_use(&use, number))
		return 0;
	error = fusecopy_stat(use.descriptor, &entry);
	fusecopy_end_use(&use);
	if (error) {
		fuse_reply_err(req, -error);
	} else {
		entry.number = number;
		fusecopy_reply_attr(req, &entry);
	}
	return 1;
}

/* Before it writes into a file, or has a copy go there, the kernel asks whether it has capabilities to lose
 * (fs/fuse/file.c and cap_inode_need_killpriv). Other names may be the server's own. */
int fusecopy_answer_getxattr(fuse_req_t req, fuse_ino_t number, const char *name, size_t size)
{
	char path[32], value[XATTR_SIZE_MAX];
	struct fusecopy_use use;
	ssize_t got;
	int error;

	if (strcmp(name, CAPABILITY) != 0 || !fusecopy_begin_use(&use, number))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", use.descriptor);
	got = getxattr(path, name, value, size < sizeof(value) ? size : sizeof(value));
	error = errno;
	fusecopy_end_use(&use);
	if (got < 0)
		fuse_reply_err(req, error);
	else if (size == 0)
		fuse_reply_xattr(req, got);
	else
		fuse_reply_buf(req, value, got);
	return 1;
}
