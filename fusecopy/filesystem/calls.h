/* System calls of a passthrough that Python's os module lacks (calls.c): 0 or more, or a negative errno. */

#ifndef FUSECOPY_FILESYSTEM_CALLS_H
#define FUSECOPY_FILESYSTEM_CALLS_H

#include <stddef.h>
#include <stdint.h>

int fusecopy_renameat2(int old_directory, const char *old_name, int new_directory, const char *new_name,
		       unsigned int flags);
int fusecopy_fallocate(int fd, int mode, int64_t off, int64_t length);
int fusecopy_utimens(const char *path, int64_t atime_s, int64_t atime_ns, int64_t mtime_s, int64_t mtime_ns);
int fusecopy_ioctl(int fd, unsigned long cmd, char *argument);
int fusecopy_capabilities(uint64_t *effective);
int fusecopy_set_capabilities(uint64_t effective);
int fusecopy_birth_time(int fd, int64_t *born);
int64_t fusecopy_filesystem_type(int fd);
int fusecopy_check_dedupe(int fd, uint64_t off, uint64_t length);
int fusecopy_fiemap(int fd, char *map, unsigned int extents);

#endif
