/* The kernel's protocol, libfuse, and what the headers of Debian 12 (Linux 6.1, libfuse 3.14) lack of them. */

#ifndef FUSECOPY_FUSE_H
#define FUSECOPY_FUSE_H

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#include <linux/fuse.h>

#if FUSE_MAJOR_VERSION != 3 || FUSE_MINOR_VERSION < 13
#error "fusecopy needs libfuse 3.13 (fuse_session_custom_io) or later of the 3.x series"
#endif

/* Linux 6.18 asks for copies by this first; the same request as COPY_FILE_RANGE, the reply is one u64. */
#define FUSECOPY_COPY_FILE_RANGE_64 53

/* FUSE_PASSTHROUGH is bit 37 of INIT's flags, in protocol 7.40. */
#define FUSECOPY_FLAGS2_PASSTHROUGH (1U << 5)
#define FUSECOPY_OPEN_PASSTHROUGH (1U << 7)

#endif
