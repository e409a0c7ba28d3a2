/* The files that what was written may have come from (sources.c). */

#ifndef FUSECOPY_SOURCES_H
#define FUSECOPY_SOURCES_H

#include "shared.h"

/* A file, which the kernel knows by that number, is read. */
void fusecopy_note_source(uint64_t device, uint64_t ino, uint64_t number);

/* Whether it was read since the kernel came to know it; true, too, of some that it has forgotten. */
int fusecopy_is_source(const struct fusecopy_identity *file);

#endif
