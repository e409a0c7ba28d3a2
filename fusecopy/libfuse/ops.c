/*
 * What pyfuse3 lacks, added to its libfuse session.
 *
 * This object is loaded with RTLD_GLOBAL before pyfuse3, so that pyfuse3's calls of fuse_session_new (from
 * libfuse 3.17 on fuse_session_new_versioned), fuse_session_receive_buf and fuse_session_process_buf bind to the
 * functions below. The first two give libfuse pyfuse3's table of operations with ours laid over it; the third
 * never waits; the fourth lets a libfuse before 3.18 understand the opcode COPY_FILE_RANGE_64.
 *
 * Every handler runs on the thread that calls fuse_session_process_buf, which is trio's. Reads and writes
 * are answered here whenever that cannot wait for a disk; what would wait, and what Python decides, goes to
 * the extern "Python" functions (on_*), which start a trio task and return at once. Whoever takes a request
 * replies to it exactly once.
 */

#include "ops.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <linux/fuse.h>

/* Callers of libfuse 3.17 and later are bound to the _versioned symbol by a macro; we define both. */
#undef fuse_session_new

#define NS_PER_S 1000000000LL

#define UNKNOWN_NUMBER 0xffffffff

/* What the kernel's splice between two files moves at a time: 16 pages of its private pipe. */
#define PIPE_BYTES 65536

/* In no released header before Linux 6.18; same request as COPY_FILE_RANGE, reply is one u64. */
#define OPCODE_COPY_FILE_RANGE_64 53

/* The reply to the 32-bit opcode holds a u32; kernels without the fix of September 2025 send larger lengths
 * and would take a copy of 4 GiB for one of 0 bytes, which ends a program's loop early. */
#define LENGTH_LIMIT_32 0xfffff000ULL

static struct fuse_lowlevel_ops pyfuse3_ops;
static int installed;
static int request_is_64;
static struct fusecopy_connection connection;

static char *scratch;
static size_t scratch_size;

int fusecopy_installed(void)
{
	return installed;
}

struct fusecopy_connection *fusecopy_get_connection(void)
{
	return &connection;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_S + now.tv_nsec;
}

static struct fusecopy_file *file_of(const struct fuse_file_info *fi)
{
	return (struct fusecopy_file *)(uintptr_t)fi->fh;
}

/* ---- accounting -------------------------------------------------------------------------------------- */

/* The client's counters; past the last place all further clients share one, whose pid is -1. */
static struct fusecopy_client *client_of(struct fusecopy_file *file, pid_t pid)
{
	struct fusecopy_client *client = file->clients;
	int used = file->client_count;

	for (int i = 0; i < used; i++, client++)
		if (client->pid == pid || client->pid == -1)
			return client;
	client->pid = used == FUSECOPY_CLIENTS - 1 ? -1 : pid;
	client->first_ns = now_ns();
	file->client_count = used + 1;
	return client;
}

static void count_read(struct fusecopy_file *file, fuse_req_t req, size_t size)
{
	pid_t pid = fuse_req_ctx(req)->pid;
	struct fusecopy_client *client = client_of(file, pid);

	if (client->reads == 0)
		on_look((uint64_t)(uintptr_t)file, pid, 0);
	client->reads++;
	client->read_bytes += size;
	client->last_ns = now_ns();
}

/* The caller waits for this request, so now is the time to see which system call it is in; and again when
 * the requests' size changes, because then another call may drive them. */
static void count_write(struct fusecopy_file *file, fuse_req_t req, size_t size, int writeback)
{
	pid_t pid = writeback ? FUSECOPY_WRITEBACK : fuse_req_ctx(req)->pid;
	struct fusecopy_client *client = client_of(file, pid);

	if (size != client->last_write && client->looks < FUSECOPY_LOOKS) {
		client->looks++;
		on_look((uint64_t)(uintptr_t)file, pid, 1);
	}
	client->last_write = size;
	client->pipe_writes += size == PIPE_BYTES;
	client->writes++;
	client->write_bytes += size;
	client->last_ns = now_ns();
}

/* ---- read and write ---------------------------------------------------------------------------------- */

static int reserve_scratch(size_t size)
{
	if (size <= scratch_size)
		return 0;
	free(scratch);
	scratch = malloc(size);
	scratch_size = scratch ? size : 0;
	return scratch ? 0 : -ENOMEM;
}

/* A short read is the whole answer only at the end of the file; before it the rest was not in memory. */
static int reached_end(int fd, off_t end)
{
	struct stat st;

	return fstat(fd, &st) == 0 && end >= st.st_size;
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fusecopy_file *file = file_of(fi);
	struct iovec iov;
	ssize_t got;

	(void)ino;
	count_read(file, req, size);
	if (reserve_scratch(size) != 0) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	iov = (struct iovec){ .iov_base = scratch, .iov_len = size };
	got = preadv2(file->fd, &iov, 1, off, RWF_NOWAIT);
	if (got == (ssize_t)size || (got >= 0 && reached_end(file->fd, off + got)))
		fuse_reply_buf(req, scratch, got);
	else
		on_slow_read(req, (uint64_t)(uintptr_t)file, size, off);
}

void fusecopy_finish_read(fuse_req_t req, int fd, size_t size, int64_t off)
{
	char *memory = malloc(size);
	size_t got = 0;
	ssize_t n = 0;

	if (!memory) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	while (got < size) {
		n = pread(fd, memory + got, size - got, off + got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += n;
	}
	if (n < 0 && got == 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, memory, got);
	free(memory);
}

/* Whether to write at the end, wherever that is by now: a program asked for O_APPEND, and the kernel's offset is
 * where the end was when it last looked, over which somebody may have written on the backing since. The
 * descriptor itself is not opened so, because no copy may go into one that is. Pages written back by the kernel
 * carry no flags of a program, and belong where they were. */
static int appends(const struct fuse_file_info *fi)
{
	return fi->flags & O_APPEND && !fi->writepage ? RWF_APPEND : 0;
}

/* RWF_NOWAIT says EOPNOTSUPP where the backing cannot tell (ext4's writes), and its promise does not
 * reach the sync that O_DSYNC adds after the write. */
static size_t write_without_waiting(struct fusecopy_file *file, const char *data, size_t size, off_t off,
				    int append)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
	ssize_t written;

	if (file->write_waits)
		return 0;
	written = pwritev2(file->fd, &iov, 1, off, RWF_NOWAIT | append);
	if (written < 0 && errno == EOPNOTSUPP)
		file->write_waits = 1;
	return written < 0 ? 0 : written;
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	struct fusecopy_file *file = file_of(fi);
	size_t written;
	char *rest;

	(void)ino;
	count_write(file, req, size, fi->writepage);
	written = write_without_waiting(file, data, size, off, appends(fi));
	if (written == size) {
		fuse_reply_write(req, size);
		return;
	}
	/* The request's buffer is reused for the next request as soon as we return. */
	rest = malloc(size - written);
	if (!rest) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	memcpy(rest, data + written, size - written);
	on_slow_write(req, (uint64_t)(uintptr_t)file, rest, size - written, off + written, written, appends(fi));
}

void fusecopy_finish_write(fuse_req_t req, int fd, char *data, size_t size, int64_t off, size_t before, int append)
{
	struct iovec iov;
	size_t written = 0;
	ssize_t n = 0;
	int error = 0;

	while (written < size) {
		iov = (struct iovec){ .iov_base = data + written, .iov_len = size - written };
		n = pwritev2(fd, &iov, 1, off + written, append);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			error = errno;
		if (n <= 0)
			break;
		written += n;
	}
	free(data);
	if (before + written == 0 && error)
		fuse_reply_err(req, error);
	else
		fuse_reply_write(req, before + written);
}

/* ---- what Python decides ----------------------------------------------------------------------------- */

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fusecopy_setattr change = {
		.to_set = to_set,
		.has_fh = fi != NULL,
		.fh = fi ? fi->fh : 0,
		.mode = attr->st_mode,
		.uid = attr->st_uid,
		.gid = attr->st_gid,
		.size = attr->st_size,
		.atime_s = attr->st_atim.tv_sec,
		.atime_ns = attr->st_atim.tv_nsec,
		.mtime_s = attr->st_mtim.tv_sec,
		.mtime_ns = attr->st_mtim.tv_nsec,
	};

	on_setattr(req, ino, &change);
}

int fusecopy_reply_attr(fuse_req_t req, const struct fusecopy_attributes *a, double timeout)
{
	struct stat st = {
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = a->rdev,
		.st_size = a->size,
		.st_blksize = a->blksize,
		.st_blocks = a->blocks,
		.st_atim = { a->atime_s, a->atime_ns },
		.st_mtim = { a->mtime_s, a->mtime_ns },
		.st_ctim = { a->ctime_s, a->ctime_ns },
	};

	return fuse_reply_attr(req, &st, timeout);
}

static void do_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
			       fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len,
			       int flags)
{
	struct fusecopy_copy copy = {
		.inode_in = ino_in,
		.fh_in = fi_in->fh,
		.off_in = off_in,
		.inode_out = ino_out,
		.fh_out = fi_out->fh,
		.off_out = off_out,
		.length = len,
		.flags = flags,
		.is_64 = request_is_64,
	};

	if (!request_is_64 && copy.length > LENGTH_LIMIT_32)
		copy.length = LENGTH_LIMIT_32;
	on_copy_file_range(req, &copy);
}

/* On a little-endian machine {u64 count} and {u32 count, u32 padding} are the same eight bytes for what
 * each opcode can carry, so one reply serves both. The loader refuses big-endian machines. */
int fusecopy_reply_copy(fuse_req_t req, uint64_t count)
{
	return fuse_reply_buf(req, (const char *)&count, sizeof(count));
}

static void do_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	on_lseek(req, ino, fi->fh, off, whence);
}

static void do_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
			 struct fuse_file_info *fi)
{
	on_fallocate(req, ino, fi->fh, mode, offset, length);
}

static void do_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg, struct fuse_file_info *fi,
		     unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	(void)arg;
	on_ioctl(req, ino, fi->fh, cmd, flags, (char *)in, in_size, out_size);
}

/* ---- the session ------------------------------------------------------------------------------------- */

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	pyfuse3_ops.init(userdata, conn);
	conn->want |= connection.want & conn->capable;
	conn->want &= ~connection.refuse;
	connection.major = conn->proto_major;
	connection.minor = conn->proto_minor;
	connection.max_write = conn->max_write;
}

static void lay_over(struct fuse_lowlevel_ops *ops)
{
	pyfuse3_ops = *ops;
	ops->init = do_init;
	ops->read = do_read;
	ops->write = do_write;
	ops->write_buf = NULL;
	ops->setattr = do_setattr;
	ops->copy_file_range = do_copy_file_range;
	ops->lseek = do_lseek;
	ops->fallocate = do_fallocate;
	ops->ioctl = do_ioctl;
}

/* The library's own function of that name: our object comes first in every other look-up. */
static void *real(const char *name, const char *version)
{
	static void *library;
	Dl_info info;
	void *symbol;

	if (!library && dladdr((void *)(uintptr_t)fuse_version, &info) != 0)
		library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (!library)
		return NULL;
	symbol = dlvsym(library, name, version);
	return symbol ? symbol : dlsym(library, name);
}

/* A table larger than ours comes from headers newer than those this object was built with: what we do not
 * know we could not hand on, so such a session gets no operations of ours and the loader reports it. */
static const struct fuse_lowlevel_ops *table(const struct fuse_lowlevel_ops *op, size_t *op_size)
{
	static struct fuse_lowlevel_ops ops;

	if (*op_size > sizeof(ops))
		return op;
	memset(&ops, 0, sizeof(ops));
	memcpy(&ops, op, *op_size);
	lay_over(&ops);
	*op_size = sizeof(ops);
	installed = 1;
	return &ops;
}

struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op, size_t op_size,
				      void *userdata)
{
	struct fuse_session *(*call)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *) =
		real("fuse_session_new", "FUSE_3.0");

	op = table(op, &op_size);
	return call ? call(args, op, op_size, userdata) : NULL;
}

struct fuse_session *fuse_session_new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
						size_t op_size, struct libfuse_version *version, void *userdata)
{
	struct fuse_session *(*call)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     struct libfuse_version *, void *) =
		real("fuse_session_new_versioned", "FUSE_3.17");

	op = table(op, &op_size);
	return call ? call(args, op, op_size, version, userdata) : NULL;
}

/* pyfuse3 has one field for an entry's node and for the number that a listing shows. An entry without a node,
 * which may be listed but not looked up, gets the number that libfuse's own listings give: with 0 it would pass
 * for a removed one (readdir of the C library skips those). */
size_t fuse_add_direntry_plus(fuse_req_t req, char *buf, size_t size, const char *name,
			      const struct fuse_entry_param *entry, off_t off)
{
	static size_t (*call)(fuse_req_t, char *, size_t, const char *, const struct fuse_entry_param *, off_t);
	struct fuse_entry_param shown = *entry;

	if (!call)
		call = real("fuse_add_direntry_plus", "FUSE_3.0");
	if (shown.ino == 0)
		shown.attr.st_ino = UNKNOWN_NUMBER;
	return call(req, buf, size, name, &shown, off);
}

/* pyfuse3 reads when the device is readable. But a request that made it so is gone again if its caller was
 * killed meanwhile, and the read would then hold up the whole server, with Python's lock, until another request
 * came. EINTR is what pyfuse3 takes as "again". */
int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
	static int (*call)(struct fuse_session *, struct fuse_buf *);
	int result;

	if (!call) {
		call = real("fuse_session_receive_buf", "FUSE_3.0");
		fcntl(fuse_session_fd(se), F_SETFL, O_NONBLOCK);
	}
	result = call(se, buf);
	return result == -EAGAIN ? -EINTR : result;
}

/* Linux 6.18 sends COPY_FILE_RANGE_64 first. A libfuse before 3.18 answers ENOSYS, and two concurrent first
 * copies then switch copies off for the whole connection, for good (fs/fuse/file.c, 6.18 to 7.2). The request
 * has the layout of COPY_FILE_RANGE, so libfuse is shown that opcode. */
void fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{
	static void (*call)(struct fuse_session *, const struct fuse_buf *);
	struct fuse_in_header *in = buf->mem;

	if (!call)
		call = real("fuse_session_process_buf", "FUSE_3.0");
	if (!(buf->flags & FUSE_BUF_IS_FD) && in->opcode < FUSECOPY_OPCODES)
		connection.requests[in->opcode]++;
	request_is_64 = !(buf->flags & FUSE_BUF_IS_FD) && in->opcode == OPCODE_COPY_FILE_RANGE_64;
	if (request_is_64 && fuse_version() < 318)
		in->opcode = FUSE_COPY_FILE_RANGE;
	call(se, buf);
}
