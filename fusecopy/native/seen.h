/* Where inodes were seen: their names (seen.c). */

#ifndef FUSECOPY_SEEN_H
#define FUSECOPY_SEEN_H

#include "inode.h"

/* No name is longer, with its end: the kernel sends what fits into a path (FUSE_NAME_MAX, since Linux 6.14; 1024 bytes
 * before), which a backing that is a FUSE filesystem itself may take. */
#define FUSECOPY_NAME_BYTES 4096

/* The directory where an inode was last seen, to be released, and the name there; NULL of the root. */
struct fusecopy_inode *fusecopy_seen(const struct fusecopy_inode *inode, char *name);

/* Whether it was last seen there. */
int fusecopy_is_latest(const struct fusecopy_inode *inode, const struct fusecopy_inode *directory, const char *name);

/* As fusecopy_inode_path (inode.h). */
size_t fusecopy_path(const struct fusecopy_inode *inode, char *path, size_t room);

/* It was seen under this name. */
void fusecopy_see(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name);

/* This name is gone; whether no other is known. */
int fusecopy_lose(struct fusecopy_inode *inode, const struct fusecopy_inode *directory, const char *name);

/* A file without a name has got its first. */
void fusecopy_name(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name);

/* No name leads to it: its descriptor stays open for as long as it is known. */
void fusecopy_keep_open(struct fusecopy_inode *inode);

#endif
