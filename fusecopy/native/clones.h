/* Copies that one clone carries whole (clones.c). */

#ifndef FUSECOPY_CLONES_H
#define FUSECOPY_CLONES_H

#include "shared.h"

struct fusecopy_request;

/* Whether copies may be answered so. */
void fusecopy_allow_clones(int are_allowed);

int fusecopy_answer_copy(struct fusecopy_request *request);

/* The bytes that a copy request asks for. */
uint64_t fusecopy_copy_length(const struct fusecopy_request *request);

#endif
