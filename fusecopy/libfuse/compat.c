/*
 * What libfuse has no words for: flags in the reply to INIT. It is amended on its way to the kernel, by the session's
 * own hook for writing replies (fuse_session_custom_io). A libfuse before 3.17 does not know passthrough, and one from
 * 3.18 on agrees to io_uring only with rings of its own.
 */

#include "compat.h"

#include "fuse.h"
#include "request.h"
#include "uring.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* In no header of Debian 12's (Linux 6.1). */
struct backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};

#define BACKING_OPEN _IOW(229, 1, struct backing_map)
#define BACKING_CLOSE _IOW(229, 2, uint32_t)

static int device;
static int amends;
static uint64_t init_unique;
static uint32_t kernel_flags, kernel_flags2;

/* ---- backing files ----------------------------------------------------------------------------------- */

int fusecopy_backing_open(int fd)
{
	struct backing_map map = { .fd = fd };
	int id = ioctl(device, BACKING_OPEN, &map);

	return id < 0 ? -errno : id;
}

void fusecopy_backing_close(int id)
{
	uint32_t closed = id;

	ioctl(device, BACKING_CLOSE, &closed);
}

/* ---- notices ------------------------------------------------------------------------------------------ */

int fusecopy_send_notice(const struct iovec *iov, int count)
{
	return writev(device, iov, count) < 0 ? -errno : 0;
}

/* ---- flags -------------------------------------------------------------------------------------------- */

void fusecopy_see_init(const struct fuse_in_header *in)
{
	const struct fuse_init_in *init = (const struct fuse_init_in *)(in + 1);

	init_unique = in->unique;
	kernel_flags = init->flags;
	if (in->len >= sizeof(*in) + sizeof(*init) && init->flags & FUSE_INIT_EXT)
		kernel_flags2 = init->flags2;
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)

void fusecopy_want(struct fuse_conn_info *conn, struct fusecopy_connection *connection)
{
	connection->passthrough &= !!(conn->capable & FUSE_CAP_PASSTHROUGH);
	conn->want |= conn->capable & FUSE_CAP_HANDLE_KILLPRIV_V2;
	if (connection->passthrough) {
		conn->want |= FUSE_CAP_PASSTHROUGH;
		conn->max_backing_stack_depth = FUSE_BACKING_STACKED_UNDER;
	}
}

static void amend(struct fuse_init_out *init)
{
	(void)init;
}

#else

/* No file system that is stacked itself may be the backing, but one may be stacked on the mount. */
#define MAX_STACK_DEPTH 1

static uint32_t more_flags, more_flags2;

void fusecopy_want(struct fuse_conn_info *conn, struct fusecopy_connection *connection)
{
	(void)conn;
	connection->passthrough &= amends && kernel_flags2 & FUSECOPY_FLAGS2_PASSTHROUGH;
	more_flags |= kernel_flags & FUSE_HANDLE_KILLPRIV_V2;
	if (connection->passthrough) {
		more_flags |= FUSE_INIT_EXT;
		more_flags2 |= FUSECOPY_FLAGS2_PASSTHROUGH;
	}
}

static void amend(struct fuse_init_out *init)
{
	init->flags |= more_flags;
	init->flags2 |= more_flags2;
	if (more_flags2 & FUSECOPY_FLAGS2_PASSTHROUGH)
		init->unused[0] = MAX_STACK_DEPTH; /* max_stack_depth, since 7.40 */
}

#endif

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	const struct fuse_out_header *out = iov[0].iov_base;
	const int is_init = count == 2 && out->error == 0 && out->unique == init_unique;
	ssize_t written;

	(void)userdata;
	if (is_init) {
		amend(iov[1].iov_base);
		fusecopy_uring_agree(kernel_flags2, iov[1].iov_base);
	}
	written = writev(fd, iov, count);
	if (is_init && written > 0)
		fusecopy_uring_begin(fd);
	return written;
}

static ssize_t read_request(int fd, void *buf, size_t size, void *userdata)
{
	(void)userdata;
	return read(fd, buf, size);
}

/* A libfuse may refuse the hook; then the kernel is told nothing of this. */
void fusecopy_amend_init(struct fuse_session *se, int fd)
{
	static const struct fuse_custom_io io = { .writev = write_reply, .read = read_request };

	device = fd;
	amends = fuse_session_custom_io(se, &io, fd) == 0;
}
