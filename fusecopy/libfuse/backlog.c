/*
 * Requests that are put off.
 *
 * Of 256 writers of a frozen filesystem each holds a thread of the loop until it thaws. Who reads what is in memory
 * is to have an answer all the same, so no kind of request may take all the threads there can be: with too many of
 * its kind under way a request is put off, and begun by the thread that ends one. And the last thread, which alone
 * receives, begins nothing that may wait at all.
 *
 * Everything here is called under the lock of loop.c.
 */

#include "backlog.h"

#include <limits.h>
#include <stddef.h>

#include <linux/fuse.h>

/* How many of a kind may be under way. What is left of LOOP_THREADS (session.py) is for all that has no limit. */
static const int most[FUSECOPY_KINDS] = {
	[FUSECOPY_AT_ONCE] = INT_MAX,
	[FUSECOPY_ASKS] = INT_MAX,
	[FUSECOPY_READS] = 128,
	[FUSECOPY_CHANGES] = 256,
};

static struct {
	int under_way;
	struct fusecopy_put_off *first;
	struct fusecopy_put_off **last;
} kinds[FUSECOPY_KINDS];

enum fusecopy_kind fusecopy_kind_of(const struct fuse_in_header *in)
{
	switch (in->opcode) {
	case FUSE_GETATTR: /* its inode is held open, so the backing has it in memory */
	case FUSE_RELEASE:
	case FUSE_READ: /* looks into memory first, and says when that is not enough (data.c) */
	case FUSE_INTERRUPT:
		return FUSECOPY_AT_ONCE;
	case FUSE_LOOKUP:
	case FUSE_READLINK:
	case FUSE_OPEN:
	case FUSE_FLUSH:
	case FUSE_GETXATTR:
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
	case FUSE_LSEEK:
		return FUSECOPY_ASKS;
	case FUSE_IOCTL: /* without an argument it is a question; Python's open() asks whether a file is a terminal */
		return ((const struct fuse_ioctl_in *)(in + 1))->in_size ? FUSECOPY_CHANGES : FUSECOPY_ASKS;
	default: /* FORGET too: it frees the blocks of what has no name any more */
		return FUSECOPY_CHANGES;
	}
}

int fusecopy_begin_kind(enum fusecopy_kind kind)
{
	if (kinds[kind].under_way >= most[kind])
		return 0;
	kinds[kind].under_way++;
	return 1;
}

void fusecopy_end_kind(enum fusecopy_kind kind)
{
	kinds[kind].under_way--;
}

void fusecopy_keep_for_later(struct fusecopy_put_off *item)
{
	item->next = NULL;
	if (!kinds[item->kind].first)
		kinds[item->kind].last = &kinds[item->kind].first;
	*kinds[item->kind].last = item;
	kinds[item->kind].last = &item->next;
}

struct fusecopy_put_off *fusecopy_begin_put_off(void)
{
	struct fusecopy_put_off *item;

	for (int kind = 0; kind < FUSECOPY_KINDS; kind++) {
		item = kinds[kind].first;
		if (item && fusecopy_begin_kind(kind)) {
			kinds[kind].first = item->next;
			return item;
		}
	}
	return NULL;
}
