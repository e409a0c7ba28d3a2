/* What requests wait for (barrier.c). */

#ifndef FUSECOPY_BARRIER_H
#define FUSECOPY_BARRIER_H

#include "shared.h"

struct fusecopy_request;

/* What a request waits for before it is answered: nothing; clones that its range of an open file would disturb;
 * whatever is still to be told of the file that it changes; of the files whose names it changes; everything. */
enum {
	FUSECOPY_NOTHING_FIRST,
	FUSECOPY_RANGE_FIRST,
	FUSECOPY_FILE_FIRST,
	FUSECOPY_NAMES_FIRST,
	FUSECOPY_ALL_FIRST,
};

void fusecopy_barrier(int scope, const struct fusecopy_request *request);
void fusecopy_barrier_all(void);

/* The same for a clone that makes a file of `size` bytes, down to a whole block, end at `end`. */
void fusecopy_barrier_clone(const struct fusecopy_file *file, uint64_t size, uint64_t end);

/* Whether a SETATTR or an IOCTL changes something that is told. */
int fusecopy_is_change(const struct fusecopy_request *request);

/* From before its answer until it is reported, what would change a copy that Python proves waits for it. */
void fusecopy_begin_proof(struct fusecopy_proof *proof);
void fusecopy_end_proof(const struct fusecopy_proof *proof);

#endif
