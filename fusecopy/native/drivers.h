/* What drives a READ or WRITE (drivers.c). */

#ifndef FUSECOPY_DRIVERS_H
#define FUSECOPY_DRIVERS_H

#include "shared.h"

/* What a thread does that waits for us. */
void fusecopy_look(pid_t thread, struct fusecopy_driver *driver);

/* Whether a thread is seen to wait in ioctl(2), which wants the rights of ptrace(2). */
int fusecopy_in_ioctl(pid_t thread);

/* The regular file behind a thread's descriptor; nothing is stored where there is none, or it may not be seen. */
void fusecopy_find_source(pid_t thread, unsigned int descriptor, struct fusecopy_driver *driver);

#endif
