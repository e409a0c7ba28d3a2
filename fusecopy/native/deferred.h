/* What is done after a request has its answer (deferred.c). */

#ifndef FUSECOPY_DEFERRED_H
#define FUSECOPY_DEFERRED_H

#include "shared.h"

/* Note what is to be done; after the answer, wake who does it. */
void fusecopy_note(const struct fusecopy_event *what);
void fusecopy_wake(void);

/* Whether there is something to be done that a request may have to wait for. */
int fusecopy_is_pending(void);

/* Whether a change to a file that an event has as its source, or else as its destination, disturbs that. */
typedef int fusecopy_disturbs(const void *change, const struct fusecopy_event *event, int is_source);

/* Wait until of what was noted before all is done; those events of a file that a change disturbs; those whose reports
 * may tell of any other file, too, or where `is_source`, may tell that what they wrote came from it. */
void fusecopy_await_all(void);
void fusecopy_await_events(const struct fusecopy_identity *file, fusecopy_disturbs *disturbs, const void *change);
void fusecopy_await_telling(int is_source);

/* Prove a clone now. */
void fusecopy_prove(struct fusecopy_event *event);

/* The next of them, when those that `next` holds are done; false at the end. */
int fusecopy_next_events(struct fusecopy_events *next);
void fusecopy_end_events(void);

#endif
