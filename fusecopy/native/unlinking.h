/* Names that go: UNLINK and RMDIR (unlinking.c). */

#ifndef FUSECOPY_UNLINKING_H
#define FUSECOPY_UNLINKING_H

#include "inode.h"

/* Directories have their descriptors open. */

/* A name that is about to be taken away. */
struct fusecopy_loss {
	struct fusecopy_inode *directory;
	const char *name;
	struct fusecopy_inode
		*known; /* what has it, if the kernel knows that; its descriptor stays open until the end */
	int is_only;	/* it has no other name */
};

/* 0, or a negative errno: then there is no end to it. */
int fusecopy_begin_loss(struct fusecopy_loss *loss, struct fusecopy_inode *directory, const char *name);

/* The name was taken away, or was not. Whether what had it has another that is known. */
int fusecopy_end_loss(const struct fusecopy_loss *loss, int is_lost);

/* After a rename, or an exchange of two names. */
void fusecopy_moved(struct fusecopy_inode *from, const char *name, struct fusecopy_inode *to, const char *new_name,
		    int is_exchange);

#endif
