/*
 * Reads and writes, answered without Python, and the count of who asked for how many of them.
 */

#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* What the kernel's splice between two files moves at a time: 16 pages of its private pipe. */
#define PIPE_BYTES 65536

static pthread_mutex_t counters = PTHREAD_MUTEX_INITIALIZER;

static __thread char *scratch;
static __thread size_t scratch_size;
static pthread_key_t scratch_of_thread; /* frees it when its thread ends */

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
	client->first_ns = fusecopy_now_ns();
	file->client_count = used + 1;
	return client;
}

/* Whether this is a moment to look at the caller. Everything here is done under the lock but the look itself. */
static int is_first_read(struct fusecopy_file *file, pid_t pid)
{
	int first;

	pthread_mutex_lock(&counters);
	first = client_of(file, pid)->reads == 0;
	pthread_mutex_unlock(&counters);
	return first;
}

static void count_read(struct fusecopy_file *file, fuse_req_t req, size_t size)
{
	pid_t pid = fuse_req_ctx(req)->pid;
	struct fusecopy_client *client;

	if (is_first_read(file, pid))
		on_look((uint64_t)(uintptr_t)file, pid, 0);
	pthread_mutex_lock(&counters);
	client = client_of(file, pid);
	client->reads++;
	client->read_bytes += size;
	client->last_ns = fusecopy_now_ns();
	pthread_mutex_unlock(&counters);
}

static int is_new_size(struct fusecopy_file *file, pid_t pid, size_t size)
{
	struct fusecopy_client *client;
	int look;

	pthread_mutex_lock(&counters);
	client = client_of(file, pid);
	look = size != client->last_write && client->looks < FUSECOPY_LOOKS;
	client->looks += look;
	client->last_write = size;
	pthread_mutex_unlock(&counters);
	return look;
}

/* The caller waits for this request, so now is the time to see which system call it is in; and again when
 * the requests' size changes, because then another call may drive them. */
static void count_write(struct fusecopy_file *file, fuse_req_t req, size_t size, int writeback)
{
	pid_t pid = writeback ? FUSECOPY_WRITEBACK : fuse_req_ctx(req)->pid;
	struct fusecopy_client *client;

	if (is_new_size(file, pid, size))
		on_look((uint64_t)(uintptr_t)file, pid, 1);
	pthread_mutex_lock(&counters);
	client = client_of(file, pid);
	client->pipe_writes += size == PIPE_BYTES;
	client->writes++;
	client->write_bytes += size;
	client->last_ns = fusecopy_now_ns();
	pthread_mutex_unlock(&counters);
}

/* ---- read and write ---------------------------------------------------------------------------------- */

__attribute__((constructor)) static void begin(void)
{
	pthread_key_create(&scratch_of_thread, free);
}

static int reserve_scratch(size_t size)
{
	if (size <= scratch_size)
		return 0;
	free(scratch);
	scratch = malloc(size);
	scratch_size = scratch ? size : 0;
	pthread_setspecific(scratch_of_thread, scratch);
	return scratch ? 0 : -ENOMEM;
}

/* A short read is the whole answer only at the end of the file; before it the rest was not in memory. */
static int reached_end(int fd, off_t end)
{
	struct stat st;

	return fstat(fd, &st) == 0 && end >= st.st_size;
}

struct read_put_off {
	struct fusecopy_put_off put_off;
	fuse_req_t req;
	int fd;
	size_t size;
	off_t off;
};

static void run_read(struct fusecopy_put_off *item)
{
	struct read_put_off *read = (struct read_put_off *)item;

	fusecopy_finish_read(read->req, read->fd, read->size, read->off);
	free(read);
}

static void put_off_read(fuse_req_t req, int fd, size_t size, off_t off)
{
	struct read_put_off *read = malloc(sizeof(*read));

	if (!read) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	*read = (struct read_put_off){ { .kind = FUSECOPY_READS, .run = run_read }, req, fd, size, off };
	fusecopy_put_off(&read->put_off);
}

/* The rest of a read that is not in memory: other requests are received meanwhile. */
static void read_waiting(fuse_req_t req, int fd, size_t size, off_t off)
{
	if (!fusecopy_begin_waiting(FUSECOPY_READS)) {
		put_off_read(req, fd, size, off);
		return;
	}
	fusecopy_make_way();
	fusecopy_finish_read(req, fd, size, off);
	fusecopy_end_waiting(FUSECOPY_READS);
}

void fusecopy_do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
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
	else if (fusecopy_in_loop())
		read_waiting(req, file->fd, size, off);
	else
		on_slow_read(req, (uint64_t)(uintptr_t)file, size, off);
}

void fusecopy_finish_read(fuse_req_t req, int fd, size_t size, int64_t off)
{
	size_t got = 0;
	ssize_t n = 0;

	if (reserve_scratch(size) != 0) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	while (got < size) {
		n = pread(fd, scratch + got, size - got, off + got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += n;
	}
	if (n < 0 && got == 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, scratch, got);
}

/* Whether to write at the end, wherever that is by now: a program asked for O_APPEND, and the kernel's offset is
 * where the end was when it last looked, over which somebody may have written on the backing since. The
 * descriptor itself is not opened so, because no copy may go into one that is. Pages written back by the kernel
 * carry no flags of a program, and belong where they were. */
static int appends(const struct fuse_file_info *fi)
{
	return fi->flags & O_APPEND && !fi->writepage ? RWF_APPEND : 0;
}

/* On pyfuse3's loop nothing may wait. RWF_NOWAIT says EOPNOTSUPP where the backing cannot tell (ext4's writes),
 * and its promise does not reach the sync that O_DSYNC adds after the write. */
static size_t write_without_waiting(struct fusecopy_file *file, const char *data, size_t size, off_t off,
				    int append)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
	ssize_t written;

	if (file->write_waits || file->asks_writer)
		return 0;
	written = pwritev2(file->fd, &iov, 1, off, RWF_NOWAIT | append);
	if (written < 0 && errno == EOPNOTSUPP)
		file->write_waits = 1;
	return written < 0 ? 0 : written;
}

/* Who pays for what is written: for mapped pages, of which the kernel does not say, whoever opened the file. */
static uid_t writer_of(fuse_req_t req, const struct fusecopy_file *file, const struct fuse_file_info *fi)
{
	return fi->writepage ? file->opener : fuse_req_ctx(req)->uid;
}

/* Has Python write what is left after `written` bytes. */
static void leave_rest(fuse_req_t req, struct fusecopy_file *file, const char *data, size_t size, off_t off,
		       size_t written, const struct fuse_file_info *fi)
{
	/* The request's buffer is reused for the next request as soon as we return. */
	char *rest = malloc(size - written);

	if (!rest) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	memcpy(rest, data + written, size - written);
	on_slow_write(req, (uint64_t)(uintptr_t)file, rest, size - written, off + written, written, appends(fi),
		      writer_of(req, file, fi));
}

/* Writes on a thread of trio's what cannot be written at once. */
static void write_on_pyfuse3_loop(fuse_req_t req, struct fusecopy_file *file, const char *data, size_t size,
				  off_t off, const struct fuse_file_info *fi)
{
	size_t written = write_without_waiting(file, data, size, off, appends(fi));

	if (written == size)
		fuse_reply_write(req, size);
	else
		leave_rest(req, file, data, size, off, written, fi);
}

/* A program without CAP_FSETID writes, and the write itself is ours: the bits would stay. Whether there were any. */
static int drop_suidgid(fuse_req_t req, struct fusecopy_file *file)
{
	struct stat st;

	if (!fusecopy_drops_suidgid() || fstat(file->fd, &st) < 0 || !(st.st_mode & (S_ISUID | S_ISGID)))
		return 0;
	on_privileged_write(req, (uint64_t)(uintptr_t)file);
	return 1;
}

int64_t fusecopy_write(int fd, const char *data, size_t size, int64_t off, int append)
{
	struct iovec iov;
	size_t written = 0;
	ssize_t n = 0;

	while (written < size) {
		iov = (struct iovec){ .iov_base = (void *)(data + written), .iov_len = size - written };
		n = pwritev2(fd, &iov, 1, off + written, append);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		written += n;
	}
	return n < 0 && written == 0 ? -errno : (int64_t)written;
}

/* Some filesystems keep their last blocks for root (ext4_has_free_clusters, fs/ext4/balloc.c), whom they know by the
 * writer's filesystem user id; so a root server writes with its program's. Of the calls that change this thread's
 * rights only these two are made for each request, and only on such a filesystem for such a program. */
static int64_t write_for(uid_t writer, const struct fusecopy_file *file, const char *data, size_t size, off_t off,
			 int append)
{
	const uid_t server = geteuid();
	int64_t written;

	if (server != 0 || writer == 0 || !file->asks_writer)
		return fusecopy_write(file->fd, data, size, off, append);
	setfsuid(writer);
	written = fusecopy_write(file->fd, data, size, off, append);
	setfsuid(server);
	return written;
}

/* Where there is no room for everybody, Python looks whether this program may have more. */
static void write_in_loop(fuse_req_t req, struct fusecopy_file *file, const char *data, size_t size, off_t off,
			  const struct fuse_file_info *fi)
{
	int64_t written = write_for(writer_of(req, file, fi), file, data, size, off, appends(fi));

	if ((written == -ENOSPC || written == -EDQUOT) && geteuid() == 0)
		leave_rest(req, file, data, size, off, 0, fi);
	else if (written < 0)
		fuse_reply_err(req, -written);
	else
		fuse_reply_write(req, written);
}

void fusecopy_do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct fusecopy_file *file = file_of(fi);
	int is_privileged;

	(void)ino;
	fusecopy_settle_range(file, off, size);
	count_write(file, req, size, fi->writepage);
	is_privileged = drop_suidgid(req, file);
	if (file->only_appends && !appends(fi))
		/* Natively fcntl(2) would not have let it take O_APPEND back, or map the file; the bytes would go elsewhere. */
		fuse_reply_err(req, EPERM);
	else if (is_privileged && file->asks_writer)
		/* Without CAP_FSETID, as other ids are, it would take away what may stay (setgid, for the group). */
		leave_rest(req, file, data, size, off, 0, fi);
	else if (fusecopy_in_loop())
		write_in_loop(req, file, data, size, off, fi);
	else
		write_on_pyfuse3_loop(req, file, data, size, off, fi);
}
