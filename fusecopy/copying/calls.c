/* The calls of a copy that Python has no function for. */

#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

int fc_clone_range(int source, uint64_t offset_in, uint64_t length, int destination, uint64_t offset_out)
{
	struct file_clone_range range = {
		.src_fd = source,
		.src_offset = offset_in,
		.src_length = length,
		.dest_offset = offset_out,
	};
	return ioctl(destination, FICLONERANGE, &range) < 0 ? -errno : 0;
}

/* 0 or FILE_DEDUPE_RANGE_DIFFERS; the destination's status is an errno of its own. */
int fc_dedupe_range(int source, uint64_t offset_in, uint64_t length, int destination, uint64_t offset_out,
		    uint64_t *deduped)
{
	struct {
		struct file_dedupe_range head;
		struct file_dedupe_range_info info;
	} range;

	memset(&range, 0, sizeof range);
	range.head.src_offset = offset_in;
	range.head.src_length = length;
	range.head.dest_count = 1;
	range.info.dest_fd = destination;
	range.info.dest_offset = offset_out;
	if (ioctl(source, FIDEDUPERANGE, &range) < 0)
		return -errno;
	*deduped = range.info.bytes_deduped;
	return range.info.status;
}

/* What clones go by at the least, on a server that does not tell by what. */
#define LEAST_BLOCK 4096

/* Filesystems of a server, which give as block size what one request of theirs holds (NFS up to 1 MiB, CIFS 16 KiB),
 * Linux 5.10 to 7.3. */
static bool fc_gives_request_size(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return false;
	switch ((uint32_t)st.f_type) {
	case NFS_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case SMB_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/* The block size that the kernel's alignment rules for clones go by. A stacked filesystem has none of its own
 * (EINVAL); what lies below goes by its own, which statfs(2) tells. Of a server's blocks the client knows nothing:
 * where they are larger than what is said here, the server refuses the clone (EINVAL), and the next path goes on. */
int fc_block_size(int fd)
{
	struct statvfs st;
	int size;

	if (fc_gives_request_size(fd))
		return LEAST_BLOCK;
	if (ioctl(fd, FIGETBSZ, &size) == 0)
		return size;
	if (errno == EINVAL && fstatvfs(fd, &st) == 0)
		return st.f_bsize;
	return -errno;
}

/* On some filesystems (btrfs, XFS) a descriptor from before chattr +i may still be written,
 * but not copied into. */
static int fc_is_immutable(int fd)
{
	struct statx st;

	return statx(fd, "", AT_EMPTY_PATH, 0, &st) == 0 && st.stx_attributes & STATX_ATTR_IMMUTABLE;
}

/* Two files before a copy, refused as generic_file_rw_checks does (fs/read_write.c, Linux 5.3 to 7.2).
 * block is 0 where the destination does not tell it. */
int fc_look(int source, int destination, struct fc_files *files)
{
	struct stat in, out;
	int flags, block;

	if (fstat(source, &in) < 0 || fstat(destination, &out) < 0)
		return -errno;
	if (S_ISDIR(in.st_mode) || S_ISDIR(out.st_mode))
		return -EISDIR;
	if (!S_ISREG(in.st_mode) || !S_ISREG(out.st_mode))
		return -EINVAL;
	if ((flags = fcntl(destination, F_GETFL)) < 0)
		return -errno;
	if (fc_is_immutable(destination))
		return -EPERM;
	if (flags & O_APPEND) /* pwrite would put the bytes at the file's end, whatever offset it is given */
		return -EBADF;
	files->size_in = in.st_size;
	files->size_out = out.st_size;
	files->same = in.st_dev == out.st_dev && in.st_ino == out.st_ino;
	block = fc_block_size(destination);
	files->block = block < 0 ? 0 : block;
	return 0;
}

/* 1 where st_dev or the mount (told since Linux 5.8) is the same for both, 0 where that does not tell. */
int fc_one_filesystem(int one, int other)
{
	struct statx a, b;

	if (statx(one, "", AT_EMPTY_PATH, STATX_MNT_ID, &a) < 0 ||
	    statx(other, "", AT_EMPTY_PATH, STATX_MNT_ID, &b) < 0)
		return -errno;
	if (a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor)
		return 1;
	return a.stx_mask & b.stx_mask & STATX_MNT_ID && a.stx_mnt_id == b.stx_mnt_id;
}

/* 0 where the kernel does not tell (before 5.8). Ids are ints in the kernel (struct mount, mnt_id). */
int fc_mount_id(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &st) < 0)
		return -errno;
	return st.stx_mask & STATX_MNT_ID ? (int)st.stx_mnt_id : 0;
}

int fc_punch_hole(int fd, int64_t offset, int64_t length)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) < 0 ? -errno : 0;
}

int fc_extend(int fd, int64_t offset, int64_t length)
{
	return fallocate(fd, 0, offset, length) < 0 ? -errno : 0;
}

/* The kernel writes an int although the ioctl's number says long. */
int fc_inode_flags(int fd, uint32_t *flags)
{
	unsigned int word = 0;
	if (ioctl(fd, FS_IOC_GETFLAGS, &word) < 0)
		return -errno;
	*flags = word;
	return 0;
}

int fc_rename_new(int directory, const char *old, const char *new)
{
	return renameat2(directory, old, directory, new, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

int64_t fc_resident_bytes(int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), pages;
	int64_t resident = 0;
	unsigned char *told;
	struct stat st;
	void *mapped;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!st.st_size)
		return 0;
	pages = ((size_t)st.st_size + page - 1) / page;
	mapped = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED)
		return -errno;
	told = malloc(pages);
	if (!told)
		resident = -ENOMEM;
	else if (mincore(mapped, (size_t)st.st_size, told) < 0)
		resident = -errno;
	else
		for (size_t n = 0; n < pages; n++)
			resident += told[n] & 1 ? (int64_t)page : 0;
	free(told);
	munmap(mapped, (size_t)st.st_size);
	return resident;
}

int64_t fc_servers_size(int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_SIZE, &st) < 0)
		return -errno;
	return (int64_t)st.stx_size;
}

int fc_syncfs(int fd)
{
	return syncfs(fd) < 0 ? -errno : 0;
}

/* What tells a file from another one that had or will have its inode number: the time when it was made (Linux
 * 4.11) or, where that is not kept (NFS), a sum of its file handle; 0 where it has neither. */
uint64_t fc_generation(int fd)
{
	struct {
		struct file_handle head;
		unsigned char bytes[MAX_HANDLE_SZ];
	} handle = { .head.handle_bytes = MAX_HANDLE_SZ };
	struct statx st;
	uint64_t sum = 0xcbf29ce484222325; /* FNV-1a */
	int mount;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) == 0 && st.stx_mask & STATX_BTIME)
		return st.stx_btime.tv_sec * 1000000000ULL + st.stx_btime.tv_nsec;
	if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH) < 0)
		return 0;
	for (unsigned n = 0; n < handle.head.handle_bytes; n++)
		sum = (sum ^ handle.head.f_handle[n]) * 0x100000001b3;
	return sum;
}
