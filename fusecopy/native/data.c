/* Reads and writes of open files. Who asked for them is counted in clients.c. */

#include "data.h"

#include "backlog.h"
#include "clients.h"
#include "fuse.h"
#include "loop.h"
#include "replies.h"
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/uio.h>
#include <unistd.h>

static __thread char *scratch;
static __thread size_t scratch_size;
static pthread_key_t scratch_of_thread; /* frees it when its thread ends */

/* READ's arguments and WRITE's begin alike. */
static struct fusecopy_file *file_of(const struct fusecopy_request *request)
{
	const struct fuse_read_in *in = request->arguments;

	return (struct fusecopy_file *)(uintptr_t)in->fh;
}

static size_t size_of(const struct fusecopy_request *request)
{
	const struct fuse_read_in *in = request->arguments;

	return in->size;
}

/* ---- read -------------------------------------------------------------------------------------------- */

__attribute__((constructor)) static void begin(void)
{
	pthread_key_create(&scratch_of_thread, free);
}

/* Memory for what is read, which a transport may have itself; NULL where there is none. */
static char *room_for(const struct fusecopy_request *request)
{
	size_t size = size_of(request);

	if (request->room && size <= request->room_size)
		return request->room;
	if (scratch && size <= scratch_size)
		return scratch;
	free(scratch);
	scratch = malloc(size);
	scratch_size = scratch ? size : 0;
	pthread_setspecific(scratch_of_thread, scratch);
	return scratch;
}

static void reply(struct fusecopy_request *request, const char *data, ssize_t got)
{
	/* What comes next may be the last of this file. */
	fusecopy_count_moved(request, got);
	if (got < 0)
		fusecopy_reply_error(request, -got);
	else
		fusecopy_reply_data(request, data, got);
}

/* A short read is the whole answer only at the end of the file; before it the rest was not in memory. */
static int reached_end(int fd, off_t end)
{
	struct stat st;

	return fstat(fd, &st) == 0 && end >= st.st_size;
}

/* Whether what is in memory was the whole answer. */
static int read_at_once(struct fusecopy_request *request, char *room)
{
	const struct fuse_read_in *in = request->arguments;
	struct iovec iov = { .iov_base = room, .iov_len = in->size };
	const int fd = file_of(request)->fd;
	ssize_t got = preadv2(fd, &iov, 1, in->offset, RWF_NOWAIT);

	if (got != (ssize_t)in->size && (got < 0 || !reached_end(fd, in->offset + got)))
		return 0;
	reply(request, room, got);
	return 1;
}

static void read_waiting(struct fusecopy_request *request)
{
	const struct fuse_read_in *in = request->arguments;
	char *room = room_for(request);
	size_t got = 0;
	ssize_t n = 0;

	if (!room) {
		reply(request, NULL, -ENOMEM);
		return;
	}
	while (got < in->size) {
		n = pread(file_of(request)->fd, room + got, in->size - got, in->offset + got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += n;
	}
	reply(request, room, n < 0 && got == 0 ? -errno : (ssize_t)got);
}

struct read_put_off {
	struct fusecopy_put_off put_off;
	struct fuse_in_header header;
	struct fuse_read_in arguments;
	struct fusecopy_request request;
};

static void run_read(struct fusecopy_put_off *item)
{
	struct read_put_off *kept = (struct read_put_off *)item;

	read_waiting(&kept->request);
	free(kept);
}

static void put_off_read(struct fusecopy_request *request)
{
	struct read_put_off *kept = malloc(sizeof(*kept));

	if (!kept) {
		reply(request, NULL, -ENOMEM);
		return;
	}
	kept->put_off = (struct fusecopy_put_off){ .kind = FUSECOPY_READS, .run = run_read };
	kept->header = *request->header;
	kept->arguments = *(const struct fuse_read_in *)request->arguments;
	kept->request = *request;
	kept->request.header = &kept->header;
	kept->request.arguments = &kept->arguments;
	fusecopy_put_off(&kept->put_off);
}

/* What is not in memory may wait for a disk: other requests are received meanwhile. */
void fusecopy_carry_read(struct fusecopy_request *request)
{
	char *room = room_for(request);

	if (!room)
		reply(request, NULL, -ENOMEM);
	else if (read_at_once(request, room))
		return;
	else if (!fusecopy_begin_waiting(FUSECOPY_READS))
		put_off_read(request);
	else {
		fusecopy_make_way();
		read_waiting(request);
		fusecopy_end_waiting(FUSECOPY_READS);
	}
}

int fusecopy_answer_read(struct fusecopy_request *request)
{
	if (fusecopy_look_is_due(request))
		return FUSECOPY_LEFT;
	fusecopy_carry_read(request);
	return FUSECOPY_ANSWERED;
}

/* ---- write ------------------------------------------------------------------------------------------- */

/* Whether to write at the end, wherever that is by now: a program asked for O_APPEND, and the kernel's offset is
 * where the end was when it last looked, over which somebody may have written on the backing since. The
 * descriptor itself is not opened so, because no copy may go into one that is. Pages written back by the kernel
 * carry no flags of a program, and belong where they were. */
static int appends(const struct fuse_write_in *in)
{
	return in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE) ? RWF_APPEND : 0;
}

/* Whether it is written with the program's filesystem user id, see below. */
static int is_for_caller(const struct fusecopy_request *request)
{
	return file_of(request)->asks_writer && fusecopy_writer(request) != 0;
}

/* setuid and setgid bits, which the server's own write would leave where the program has no CAP_FSETID, and another's
 * would take away where it has. */
int fusecopy_has_bits_to_lose(const struct fusecopy_request *request)
{
	const struct fuse_write_in *in = request->arguments;
	struct stat st;

	if (!(in->write_flags & FUSE_WRITE_KILL_SUIDGID) && !is_for_caller(request))
		return 0;
	return fstat(file_of(request)->fd, &st) == 0 && st.st_mode & (S_ISUID | S_ISGID);
}

int64_t fusecopy_write(const struct fusecopy_request *request)
{
	const struct fuse_write_in *in = request->arguments;
	const struct fusecopy_file *file = file_of(request);
	struct iovec iov;
	size_t written = 0;
	ssize_t n = 0;

	/* Natively fcntl(2) would not have let it take O_APPEND back, or map the file; the bytes would go elsewhere. */
	if (file->only_appends && !appends(in))
		return -EPERM;
	while (written < in->size) {
		iov = (struct iovec){ .iov_base = (void *)(uintptr_t)(request->payload + written),
				      .iov_len = in->size - written };
		n = pwritev2(file->fd, &iov, 1, in->offset + written, appends(in));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		written += n;
	}
	return n < 0 && written == 0 ? -errno : (int64_t)written;
}

/* For mapped pages, of which the kernel does not say, whoever opened the file. */
uid_t fusecopy_writer(const struct fusecopy_request *request)
{
	return fusecopy_client(request) == FUSECOPY_WRITEBACK ? file_of(request)->uid : request->header->uid;
}

/* Some filesystems keep their last blocks for root (ext4_has_free_clusters, fs/ext4/balloc.c), whom they know by the
 * writer's filesystem user id; so a root server writes with its program's. Of the calls that change this thread's
 * rights only these two are made for each request, and only on such a filesystem for such a program. */
int64_t fusecopy_write_for_caller(const struct fusecopy_request *request)
{
	int64_t written;

	if (!is_for_caller(request))
		return fusecopy_write(request);
	setfsuid(fusecopy_writer(request));
	written = fusecopy_write(request);
	setfsuid(0);
	return written;
}

/* Where there is no room for everybody, Python looks whether this program may have more. */
int fusecopy_answer_write(struct fusecopy_request *request)
{
	int64_t written;

	if (fusecopy_look_is_due(request) || fusecopy_has_bits_to_lose(request))
		return FUSECOPY_LEFT;
	written = fusecopy_write_for_caller(request);
	if (written == -ENOSPC || written == -EDQUOT)
		return FUSECOPY_LEFT;
	fusecopy_count_moved(request, written);
	if (written < 0)
		fusecopy_reply_error(request, -written);
	else
		fusecopy_reply_size(request, written);
	return FUSECOPY_ANSWERED;
}
