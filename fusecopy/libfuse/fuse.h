/* The kernel's protocol, libfuse, and what the headers of Debian 12 (Linux 6.1, libfuse 3.14) lack of them. */

#ifndef FUSECOPY_FUSE_H
#define FUSECOPY_FUSE_H

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#include <linux/fuse.h>

#if FUSE_MAJOR_VERSION != 3 || FUSE_MINOR_VERSION < 13
#error "fusecopy needs libfuse 3.13 or later of the 3.x series"
#endif

/* Linux 6.18 asks for copies by this first; the same request as COPY_FILE_RANGE, the reply is one u64. */
#define FUSECOPY_COPY_FILE_RANGE_64 53

/* O_TMPFILE since Linux 6.2: the request of CREATE, of a name that means nothing. */
#define FUSECOPY_TMPFILE 51

/* statx(2) since Linux 6.6, asked for where a program wants the time of creation. */
#define FUSECOPY_STATX 52

struct fusecopy_statx_in {
	uint32_t getattr_flags;
	uint32_t reserved;
	uint64_t fh;
	uint32_t sx_flags;
	uint32_t sx_mask;
};

struct fusecopy_sx_time {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

struct fusecopy_statx {
	uint32_t mask; /* STATX_* */
	uint32_t blksize;
	uint64_t attributes;
	uint32_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint16_t mode;
	uint16_t spare0;
	uint64_t ino;
	uint64_t size;
	uint64_t blocks;
	uint64_t attributes_mask;
	struct fusecopy_sx_time atime;
	struct fusecopy_sx_time btime;
	struct fusecopy_sx_time ctime;
	struct fusecopy_sx_time mtime;
	uint32_t rdev_major;
	uint32_t rdev_minor;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t spare2[14];
};

struct fusecopy_statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct fusecopy_statx stat;
};

/* FUSE_PASSTHROUGH is bit 37 of INIT's flags, in protocol 7.40. */
#define FUSECOPY_FLAGS2_PASSTHROUGH (1U << 5)
#define FUSECOPY_OPEN_PASSTHROUGH (1U << 7)

/* FUSE_OVER_IO_URING is bit 41, in protocol 7.42. */
#define FUSECOPY_FLAGS2_OVER_IO_URING (1U << 9)

#endif
