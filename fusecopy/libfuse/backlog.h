/* Requests that are put off (backlog.c), for the loop. */

#ifndef FUSECOPY_BACKLOG_H
#define FUSECOPY_BACKLOG_H

/* What a request may wait for: nothing; names, attributes; the bytes of a file; whatever a change waits for. */
#define FUSECOPY_AT_ONCE 0
#define FUSECOPY_ASKS 1
#define FUSECOPY_READS 2
#define FUSECOPY_CHANGES 3
#define FUSECOPY_KINDS 4

/* A request, or the rest of one, that is put off until a thread has ended another of its kind. `run` is
 * called then, by that thread, and frees it. */
struct fusecopy_put_off {
	struct fusecopy_put_off *next;
	int kind;
	void (*run)(struct fusecopy_put_off *item);
};

/* Counts one of its kind as under way; false where there are too many. */
int fusecopy_begin_kind(int kind);
void fusecopy_end_kind(int kind);

/* What was put off is begun in its order, kind by kind; NULL where nothing may be begun. */
void fusecopy_keep_for_later(struct fusecopy_put_off *item);
struct fusecopy_put_off *fusecopy_begin_put_off(void);

#endif
