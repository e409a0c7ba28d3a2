/* Copies that one call of the backing carries whole (clones.c). */

#ifndef FUSECOPY_CLONES_H
#define FUSECOPY_CLONES_H

#include "shared.h"

struct fusecopy_request;

/* Whether copies may be answered so, by a clone; and by the backing's own copy where it has no clones. */
void fusecopy_allow_clones(int are_allowed);
void fusecopy_allow_copies(int are_allowed);

/* Whether all copies are proven before their answer, because others change files unseen; else those are of which the
 * kernel reads or writes a file by itself. */
void fusecopy_prove_first(int is_first);

int fusecopy_answer_copy(struct fusecopy_request *request);

/* The reply to opcode 47 holds a u32; kernels without the fix of September 2025 send larger lengths and would take a
 * copy of 4 GiB for one of 0 bytes, which ends a program's loop early. So it is cut to this, as the kernel does now,
 * and the program's copy goes on in the next request. */
#define FUSECOPY_LENGTH_LIMIT_47 0xfffff000

/* The bytes that a copy request asks for. */
uint64_t fusecopy_copy_length(const struct fusecopy_request *request);

#endif
