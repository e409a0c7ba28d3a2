/* What drives a READ or WRITE (drivers.c). */

#ifndef FUSECOPY_DRIVERS_H
#define FUSECOPY_DRIVERS_H

#include "shared.h"

/* What a thread does that waits for us. */
void fusecopy_look(pid_t thread, struct fusecopy_driver *driver);

#endif
