/* Acting as somebody else (become.c). Shared by the native modules that do it. */

#ifndef FUSECOPY_BECOME_H
#define FUSECOPY_BECOME_H

#include <stddef.h>

/* Give this thread alone these ids: 0 or a negative errno. */
int fusecopy_become(unsigned int uid, unsigned int gid, const unsigned int *groups, size_t count);

#endif
