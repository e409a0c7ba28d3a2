/* Replies that tell the kernel of inodes and open files, and what else has a form of its own. */

#include "replies.h"

#include "fuse.h"
#include "inodes.h"
#include "request.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define NS_PER_S 1000000000

int fusecopy_stat(int fd, struct fusecopy_entry *entry)
{
	if (fstat(fd, &entry->stat) < 0)
		return -errno;
	if (fusecopy_watch_before(fd, &entry->stat) && fstat(fd, &entry->stat) < 0)
		return -errno;
	entry->device = entry->stat.st_dev;
	entry->ino = entry->stat.st_ino;
	return 0;
}

int fusecopy_stat_found(int fd, struct fusecopy_entry *entry)
{
	int error = fusecopy_stat(fd, entry);

	return error == 0 && entry->device == fusecopy_get_connection()->device ? -ELOOP : error;
}

static void split(double seconds, uint64_t *whole, uint32_t *ns)
{
	*whole = (uint64_t)seconds;
	*ns = (uint32_t)((seconds - (double)*whole) * NS_PER_S);
}

static void fill_attr(struct fuse_attr *attr, uint64_t number, const struct stat *st)
{
	*attr = (struct fuse_attr){
		.ino = number,
		.size = st->st_size,
		.blocks = st->st_blocks,
		.atime = st->st_atim.tv_sec,
		.mtime = st->st_mtim.tv_sec,
		.ctime = st->st_ctim.tv_sec,
		.atimensec = st->st_atim.tv_nsec,
		.mtimensec = st->st_mtim.tv_nsec,
		.ctimensec = st->st_ctim.tv_nsec,
		.mode = st->st_mode,
		.nlink = st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.rdev = st->st_rdev,
		.blksize = st->st_blksize,
	};
}

void fusecopy_fill_entry(struct fuse_entry_out *out, const struct fusecopy_entry *entry)
{
	*out = (struct fuse_entry_out){ .nodeid = entry->number, .generation = entry->generation };
	split(entry->entry_timeout, &out->entry_valid, &out->entry_valid_nsec);
	split(entry->attr_timeout, &out->attr_valid, &out->attr_valid_nsec);
	fill_attr(&out->attr, entry->number, &entry->stat);
}

/* The same, and noted as what the kernel was told. */
static void tell(struct fuse_entry_out *out, struct fusecopy_entry *entry)
{
	fusecopy_tell(entry->number, entry);
	fusecopy_fill_entry(out, entry);
}

int fusecopy_reply_entry(struct fusecopy_request *request, struct fusecopy_entry *entry)
{
	struct fuse_entry_out out;

	tell(&out, entry);
	return fusecopy_reply_data(request, &out, sizeof(out));
}

/* An entry of the number 0 is what a kernel remembers as absent (fs/fuse/dir.c); ENOENT it asks for again. */
int fusecopy_reply_absent(struct fusecopy_request *request)
{
	const double seconds = fusecopy_get_connection()->negative_timeout;
	const struct fusecopy_entry absent = {
		.entry_timeout = fusecopy_watch_limit(request->header->nodeid, seconds),
	};
	struct fuse_entry_out out;

	if (absent.entry_timeout <= 0)
		return fusecopy_reply_error(request, ENOENT);
	fusecopy_fill_entry(&out, &absent);
	return fusecopy_reply_data(request, &out, sizeof(out));
}

int fusecopy_reply_attr(struct fusecopy_request *request, struct fusecopy_entry *entry)
{
	struct fuse_entry_out told;
	struct fuse_attr_out out;

	tell(&told, entry);
	out = (struct fuse_attr_out){
		.attr_valid = told.attr_valid,
		.attr_valid_nsec = told.attr_valid_nsec,
		.attr = told.attr,
	};
	return fusecopy_reply_data(request, &out, sizeof(out));
}

int fusecopy_born(int fd, struct timespec *born)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) < 0 || !(stx.stx_mask & STATX_BTIME))
		return 0;
	*born = (struct timespec){ .tv_sec = stx.stx_btime.tv_sec, .tv_nsec = stx.stx_btime.tv_nsec };
	return 1;
}

static struct fusecopy_sx_time sx_time(const struct timespec *time)
{
	return (struct fusecopy_sx_time){ .tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec };
}

static struct fusecopy_statx sx_stat(uint64_t number, const struct stat *st, const struct timespec *born)
{
	static const struct timespec unknown;

	return (struct fusecopy_statx){
		.mask = STATX_BASIC_STATS | (born ? STATX_BTIME : 0),
		.blksize = st->st_blksize,
		.nlink = st->st_nlink,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mode = st->st_mode,
		.ino = number,
		.size = st->st_size,
		.blocks = st->st_blocks,
		.atime = sx_time(&st->st_atim),
		.btime = sx_time(born ? born : &unknown),
		.ctime = sx_time(&st->st_ctim),
		.mtime = sx_time(&st->st_mtim),
		.rdev_major = major(st->st_rdev),
		.rdev_minor = minor(st->st_rdev),
	};
}

int fusecopy_reply_statx(struct fusecopy_request *request, struct fusecopy_entry *entry, const struct timespec *born)
{
	struct fuse_entry_out told;
	struct fusecopy_statx_out out;

	tell(&told, entry);
	out = (struct fusecopy_statx_out){
		.attr_valid = told.attr_valid,
		.attr_valid_nsec = told.attr_valid_nsec,
		.stat = sx_stat(entry->number, &entry->stat, born),
	};
	return fusecopy_reply_data(request, &out, sizeof(out));
}

/* Debian 12's headers call the backing's number `padding`; it is there since protocol 7.40. */
static struct fuse_open_out open_out(const struct fusecopy_opened *opened)
{
	struct fuse_open_out out = { .fh = opened->fh };
	const int32_t backing = opened->backing;

	out.open_flags = (opened->keep_cache ? FOPEN_KEEP_CACHE : 0) | (opened->noflush ? FOPEN_NOFLUSH : 0) |
			 (opened->cache_readdir ? FOPEN_CACHE_DIR : 0) | (backing ? FUSECOPY_OPEN_PASSTHROUGH : 0);
	memcpy((char *)&out + sizeof(out) - sizeof(backing), &backing, sizeof(backing));
	return out;
}

int fusecopy_reply_open(struct fusecopy_request *request, const struct fusecopy_opened *opened)
{
	struct fuse_open_out out = open_out(opened);

	return fusecopy_reply_data(request, &out, sizeof(out));
}

int fusecopy_reply_create(struct fusecopy_request *request, struct fusecopy_entry *entry,
			  const struct fusecopy_opened *opened)
{
	struct fuse_entry_out told;
	struct fuse_open_out out = open_out(opened);
	struct iovec parts[] = {
		{ .iov_len = 0 },
		{ .iov_base = &told, .iov_len = sizeof(told) },
		{ .iov_base = &out, .iov_len = sizeof(out) },
	};

	tell(&told, entry);
	return fusecopy_reply_parts(request, parts, 3);
}

/* On a little-endian machine {u64 count} and {u32 count, u32 padding} are the same eight bytes for what
 * each opcode can carry, so one reply serves both. The loader refuses big-endian machines. */
int fusecopy_reply_copy(struct fusecopy_request *request, uint64_t count)
{
	return fusecopy_reply_data(request, &count, sizeof(count));
}

/* WRITE, GETXATTR and LISTXATTR: {u32 size, u32 padding}. */
int fusecopy_reply_size(struct fusecopy_request *request, uint32_t size)
{
	const struct fuse_write_out out = { .size = size };

	return fusecopy_reply_data(request, &out, sizeof(out));
}

int fusecopy_reply_ioctl(struct fusecopy_request *request, const void *data, size_t size)
{
	struct fuse_ioctl_out out = { .result = 0 };
	struct iovec parts[] = {
		{ .iov_len = 0 },
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = (void *)(uintptr_t)data, .iov_len = size },
	};

	return fusecopy_reply_parts(request, parts, 3);
}
