/* What the kernel knows by number: the inode table (inodes.c). */

#ifndef FUSECOPY_INODES_H
#define FUSECOPY_INODES_H

#include "inode.h"
#include "shared.h"

#define FUSECOPY_ROOT 1

/* Begin with the directory open as `root` (any descriptor; it becomes the table's), and keep at most about `limit`
 * others. The kernel may believe attributes for `timeout` seconds. What is returned is the root's inode, to be
 * released; NULL without memory. At the end everything is closed. */
struct fusecopy_inode *fusecopy_begin_inodes(int root, size_t limit, double timeout);
void fusecopy_end_inodes(void);

/* Inodes known besides the root. */
size_t fusecopy_count_inodes(void);

/* Count one more look-up of the file that is open as `descriptor`, with O_PATH, and was found in a directory under a
 * name. The descriptor becomes the table's, but without memory: then NULL is returned. What is returned is known at
 * least until the kernel is told of it. */
struct fusecopy_inode *fusecopy_enter(int descriptor, uint64_t device, uint64_t ino, struct fusecopy_inode *directory,
				      const char *name);

/* Take back so many look-ups; the last one removes an inode, and may wait while the blocks of a file without a name are
 * freed. */
void fusecopy_forget(uint64_t number, uint64_t count);

/* What the kernel is told of an inode's attributes: `entry` has its stat, and gets its number, generation and timeout.
 * Of a number that is not known it believes nothing. */
void fusecopy_tell(uint64_t number, struct fusecopy_entry *entry);

/* For how many seconds it may believe the names in a directory. */
double fusecopy_name_timeout(const struct fusecopy_inode *directory);

/* Have it believe no attributes of an inode from now on. Whether it did until now. */
int fusecopy_expire(uint64_t number);

/* The size in bytes that it was last told; -1 where it was not, or has forgotten the inode. */
int64_t fusecopy_told_size(const struct fusecopy_inode *inode);

#endif
