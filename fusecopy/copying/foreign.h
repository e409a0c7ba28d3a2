/* What foreign.cdef names, for cffi. */

#ifndef FUSECOPY_COPYING_FOREIGN_H
#define FUSECOPY_COPYING_FOREIGN_H

#include <linux/fiemap.h>
#include <linux/fs.h>

#endif
