/* What foreign.cdef names, for cffi. */

#ifndef FUSECOPY_FILESYSTEM_FOREIGN_H
#define FUSECOPY_FILESYSTEM_FOREIGN_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>

#define UTIME_NOW_NS UTIME_NOW
#define UTIME_OMIT_NS UTIME_OMIT

#endif
