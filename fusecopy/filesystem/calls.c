/* System calls of a passthrough that Python's os module lacks. */

#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

static int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

int fusecopy_renameat2(int old_directory, const char *old_name, int new_directory, const char *new_name,
		       unsigned int flags)
{
	return result(renameat2(old_directory, old_name, new_directory, new_name, flags));
}

int fusecopy_fallocate(int fd, int mode, int64_t off, int64_t length)
{
	return result(fallocate(fd, mode, off, length));
}

int fusecopy_utimens(const char *path, int64_t atime_s, int64_t atime_ns, int64_t mtime_s, int64_t mtime_ns)
{
	struct timespec times[2] = { { atime_s, atime_ns }, { mtime_s, mtime_ns } };

	return result(utimensat(AT_FDCWD, path, times, 0));
}

int fusecopy_ioctl(int fd, unsigned long cmd, char *argument)
{
	return result(ioctl(fd, cmd, argument));
}

int fusecopy_capabilities(uint64_t *effective)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*effective = data[0].effective | (uint64_t)data[1].effective << 32;
	return 0;
}

/* Of this thread alone, like all that capset(2) does. */
int fusecopy_set_capabilities(uint64_t effective)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	data[0].effective = data[0].permitted & (uint32_t)effective;
	data[1].effective = data[1].permitted & (uint32_t)(effective >> 32);
	return result(syscall(SYS_capset, &header, data));
}

/* Seconds and nanoseconds; returns 0 where there are none. */
int fusecopy_birth_time(int fd, int64_t *born)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0)
		return -errno;
	born[0] = stx.stx_btime.tv_sec;
	born[1] = stx.stx_btime.tv_nsec;
	return !!(stx.stx_mask & STATX_BTIME);
}

/* One of the numbers of <linux/magic.h>. */
int64_t fusecopy_filesystem_type(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) < 0 ? -errno : (int64_t)fs.f_type;
}

/* FIDEDUPERANGE without a destination: what it checks of the source, and no more. */
int fusecopy_check_dedupe(int fd, uint64_t off, uint64_t length)
{
	struct file_dedupe_range range = { .src_offset = off, .src_length = length };

	return result(ioctl(fd, FIDEDUPERANGE, &range));
}

/* `map` is a struct fiemap with room for `extents` of them, whatever number it asks for. */
int fusecopy_fiemap(int fd, char *map, unsigned int extents)
{
	struct fiemap *fiemap = (struct fiemap *)map;

	if (fiemap->fm_extent_count > extents)
		fiemap->fm_extent_count = extents;
	return result(ioctl(fd, FS_IOC_FIEMAP, fiemap));
}
