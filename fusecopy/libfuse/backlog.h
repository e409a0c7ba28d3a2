/* Requests that are put off (backlog.c), for the loop. */

#ifndef FUSECOPY_LIBFUSE_BACKLOG_H
#define FUSECOPY_LIBFUSE_BACKLOG_H

#include <stdint.h>

struct fuse_in_header;

/* What a request may wait for: nothing; names, attributes; the bytes of a file; whatever a change waits for. */
enum fusecopy_kind { FUSECOPY_AT_ONCE, FUSECOPY_ASKS, FUSECOPY_READS, FUSECOPY_CHANGES, FUSECOPY_KINDS };

/* A request, or the rest of one, that is put off until a thread has ended another of its kind. `run` is
 * called then, by that thread, and frees it. */
struct fusecopy_put_off {
	struct fusecopy_put_off *next;
	int kind;
	void (*run)(struct fusecopy_put_off *item);
};

enum fusecopy_kind fusecopy_kind_of(const struct fuse_in_header *in);

/* Counts one of its kind as under way; false where there are too many. */
int fusecopy_begin_kind(enum fusecopy_kind kind);
void fusecopy_end_kind(enum fusecopy_kind kind);

/* What was put off is begun in its order, kind by kind; NULL where nothing may be begun. */
void fusecopy_keep_for_later(struct fusecopy_put_off *item);
struct fusecopy_put_off *fusecopy_begin_put_off(void);

#endif
