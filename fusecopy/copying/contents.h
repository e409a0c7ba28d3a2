/* Comparing what files hold. */

#ifndef FUSECOPY_CONTENTS_H
#define FUSECOPY_CONTENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What two ranges are; -errno is none of them. */
enum { FC_DIFFERENT, FC_SAME, FC_SAME_POOR }; /* the last: hardly more than one byte over and over, as of a hole */

/* How much of a range is looked for. */
#define FC_NEEDLE 512

/* A range that reaches beyond a file's end is different. */
int fc_same_bytes(int one, uint64_t at_one, int other, uint64_t at_other, uint64_t length);

/* Where in the file `in`, at `from` or up to `window` bytes behind it, the range of the file `what` seems to begin: the
 * first place that holds its first bytes. -ENODATA where there is none, or -errno. */
int64_t fc_find_bytes(int in, uint64_t from, uint64_t window, int what, uint64_t at, uint64_t length);

#endif
