/* What foreign.cdef names, for cffi. */

#ifndef FUSECOPY_CLONE_FOREIGN_H
#define FUSECOPY_CLONE_FOREIGN_H

#include <stdint.h>

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/syscall.h>

/* FIEMAP_MAX_EXTENTS of fs/ioctl.c. */
#define MOST_EXTENTS (UINT32_MAX / sizeof(struct fiemap_extent))

#endif
