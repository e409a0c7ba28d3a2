/* Replies that tell the kernel of inodes and open files (replies.c). */

#ifndef FUSECOPY_REPLIES_H
#define FUSECOPY_REPLIES_H

#include "shared.h"

struct fuse_entry_out;
struct fusecopy_request;

/* The file behind `fd`, which may be opened with O_PATH; number and timeouts are still to be given. 0 or a negative
 * errno. */
int fusecopy_stat(int fd, struct fusecopy_entry *entry);

/* The same of what a name led to: ELOOP, as for a link to itself, where that is our own mount, bound into its backing.
 * Whoever walked down there would have the server wait for itself, once more at each level. */
int fusecopy_stat_found(int fd, struct fusecopy_entry *entry);

int fusecopy_reply_entry(struct fusecopy_request *request, struct fusecopy_entry *entry);
int fusecopy_reply_absent(struct fusecopy_request *request);
/* When the file was created, as far as the backing knows: whether it does. */
int fusecopy_born(int fd, struct timespec *born);

/* The attributes of STATX; `born` is NULL where it is not known. */
int fusecopy_reply_statx(struct fusecopy_request *request, struct fusecopy_entry *entry, const struct timespec *born);
int fusecopy_reply_attr(struct fusecopy_request *request, struct fusecopy_entry *entry);
int fusecopy_reply_open(struct fusecopy_request *request, const struct fusecopy_opened *opened);
int fusecopy_reply_create(struct fusecopy_request *request, struct fusecopy_entry *entry,
			  const struct fusecopy_opened *opened);
int fusecopy_reply_copy(struct fusecopy_request *request, uint64_t count);
int fusecopy_reply_size(struct fusecopy_request *request, uint32_t size);
int fusecopy_reply_ioctl(struct fusecopy_request *request, const void *data, size_t size);

/* The same as it lies in a reply. */
void fusecopy_fill_entry(struct fuse_entry_out *out, const struct fusecopy_entry *entry);

#endif
