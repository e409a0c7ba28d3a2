/* Names (names.c). */

#ifndef FUSECOPY_NAMES_H
#define FUSECOPY_NAMES_H

struct fusecopy_request;

/* Whether a name is "." or "..". */
int fusecopy_is_dots(const char *name);

/* LOOKUP of a name that is not there. */
int fusecopy_answer_absent(struct fusecopy_request *request);

#endif
