/* What is done after a request has its answer (deferred.c). */

#ifndef FUSECOPY_DEFERRED_H
#define FUSECOPY_DEFERRED_H

#include "shared.h"

/* Note what is to be done; after the answer, wake who does it. */
void fusecopy_note(const struct fusecopy_event *what);
void fusecopy_wake(void);

/* Wait until all that was noted is done; until what a write of a file would disturb is; what a clone would that makes
 * a file of `size` bytes, down to a whole block, end at `end`. */
void fusecopy_barrier(void);
void fusecopy_barrier_write(const struct fusecopy_file *file, int64_t off, uint64_t length);
void fusecopy_barrier_clone(const struct fusecopy_file *file, uint64_t size, uint64_t end);

/* From before its answer until it is reported, what would change a copy that Python proves waits for it. */
void fusecopy_begin_proof(struct fusecopy_proof *proof);
void fusecopy_end_proof(const struct fusecopy_proof *proof);

/* The next of them, when those that `next` holds are done; false at the end. */
int fusecopy_next_events(struct fusecopy_events *next);
void fusecopy_end_events(void);

#endif
