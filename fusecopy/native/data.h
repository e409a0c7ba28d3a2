/* Reads and writes of open files (data.c). */

#ifndef FUSECOPY_DATA_H
#define FUSECOPY_DATA_H

#include "shared.h"

struct fusecopy_request;

/* READ and WRITE, unless Python is to look at the caller first, to take bits from the file that the write may not
 * leave there, or to see whether the caller may have more room than others. */
int fusecopy_answer_read(struct fusecopy_request *request);
int fusecopy_answer_write(struct fusecopy_request *request);

/* Count a READ and answer it. */
void fusecopy_carry_read(struct fusecopy_request *request);

/* Of a WRITE: whether the file has setuid or setgid bits that it may not keep; who pays for what is written; write,
 * with the rights that this thread has, or with room for its program only: bytes, or a negative errno. */
int fusecopy_has_bits_to_lose(const struct fusecopy_request *request);
uid_t fusecopy_writer(const struct fusecopy_request *request);
int64_t fusecopy_write(const struct fusecopy_request *request);
int64_t fusecopy_write_for_caller(const struct fusecopy_request *request);

#endif
