/* Where the inodes are found: by number, by file, and by how recently they were used (table.c). */

#ifndef FUSECOPY_TABLE_H
#define FUSECOPY_TABLE_H

#include "inode.h"

/* The lock of the table, and of all that inodes have. It is held for look-ups in memory only. */
void fusecopy_table_lock(void);
void fusecopy_table_unlock(void);

/* All that follows is for who has it. */

/* Begin, with so many descriptors that may be closed and are not. This many, by now, which may be asked without the
 * lock. From now on half of those that there are. */
void fusecopy_table_begin(size_t limit);
size_t fusecopy_table_limit(void);
void fusecopy_table_halve(void);

/* 0, or -ENOMEM. */
int fusecopy_table_add(struct fusecopy_inode *inode);
void fusecopy_table_remove(struct fusecopy_inode *inode);

struct fusecopy_inode *fusecopy_table_find(uint64_t number);
struct fusecopy_inode *fusecopy_table_find_file(uint64_t device, uint64_t ino);
size_t fusecopy_table_count(void);
size_t fusecopy_table_all(struct fusecopy_inode **found, size_t room);

/* It was used now, and its descriptor may be closed; that may not be closed, or is. */
void fusecopy_table_touch(struct fusecopy_inode *inode);
void fusecopy_table_untouch(struct fusecopy_inode *inode);

/* By how many those that may be closed exceed a limit, and the one that was used least recently. */
size_t fusecopy_table_surplus(size_t limit);
struct fusecopy_inode *fusecopy_table_oldest(void);

#endif
