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

int fusecopy_begin_kind(int kind)
{
	if (kinds[kind].under_way >= most[kind])
		return 0;
	kinds[kind].under_way++;
	return 1;
}

void fusecopy_end_kind(int kind)
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
