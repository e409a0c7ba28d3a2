/* Who sent a request (callers.c). */

#ifndef FUSECOPY_CALLERS_H
#define FUSECOPY_CALLERS_H

#include "shared.h"

/* 0, or -ESRCH where the thread is gone or may not be seen. `uid` is the request's; -1 has it looked up. */
int fusecopy_identify(pid_t thread, int64_t uid, struct fusecopy_caller *caller);
void fusecopy_forget_callers(void);

/* The beginning of its command line, each word ended by a null: bytes, 0 or less where that may not be seen. */
ssize_t fusecopy_read_words(pid_t thread, char *words, size_t size);

/* Whether /proc shows the threads that requests name: it may be another pid namespace's. */
int fusecopy_sees_threads(void);

/* Remember at most so many of them, from the beginning. */
void fusecopy_remember_callers(int count);

#endif
