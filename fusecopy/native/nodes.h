/* The inodes that the kernel knows, as the handlers in C find them. */

#ifndef FUSECOPY_NODES_H
#define FUSECOPY_NODES_H

#include "shared.h"

/* For the owner: enter an inode that the table does not have, found in the directory `parent`, lend it a descriptor (-1
 * takes it back), forget it. A number that is not in the table is no error, here and below. */
void fusecopy_node_enter(uint64_t number, int descriptor, double timeout, uint64_t parent);
void fusecopy_node_lend(uint64_t number, int descriptor);
void fusecopy_node_forget(uint64_t number);

/* Close a descriptor that was lent and is no more: at once, or when its last user is done with it. */
void fusecopy_node_close(int descriptor);
void fusecopy_node_close_all(const int *descriptors, size_t count);

/* Have the kernel believe no attributes of it from now on. Whether it did until now. */
int fusecopy_node_expire(uint64_t number);

/* Whether it is in the table. */
int fusecopy_node_is_known(uint64_t number);

/* The size in bytes that the kernel was last told, or -1. */
int64_t fusecopy_node_told_size(uint64_t number);

/* What the kernel is told of an inode's attributes: `entry` has its stat, and gets its number and timeout. */
void fusecopy_node_tell(uint64_t number, struct fusecopy_entry *entry);

/* A handler that uses a descriptor. It is on the handler's stack, and in the table's hands until its end. */
struct fusecopy_use {
	struct fusecopy_use *next;
	int descriptor;
	int closes; /* the descriptor was to be closed meanwhile */
};

/* Whether there is an open descriptor; then it stays so until the end. */
int fusecopy_begin_use(struct fusecopy_use *use, uint64_t number);
void fusecopy_end_use(struct fusecopy_use *use);

#endif
