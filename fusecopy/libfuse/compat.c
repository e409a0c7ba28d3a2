/*
 * What libfuse has no words for: flags in the reply to INIT. It is amended on its way to the kernel: libfuse writes it
 * to a socket that stands in for the device. (Its own hook for that, fuse_session_custom_io, is left out of Debian's
 * libfuse 3.18.) A libfuse before 3.17 does not know passthrough, and one from 3.18 on agrees to io_uring only with
 * rings of its own.
 */

#include "compat.h"

#include "fuse.h"
#include "request.h"
#include "uring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

/* The device again, by a number that nobody closes: libfuse closes the other when the session ends, while a notice may
 * be on its way, which must not go into the file that has the number next. */
static int notices = -1;
static int amends;
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
	return writev(notices, iov, count) < 0 ? -errno : 0;
}

/* ---- flags -------------------------------------------------------------------------------------------- */

void fusecopy_see_init(const struct fuse_in_header *in)
{
	const struct fuse_init_in *init = (const struct fuse_init_in *)(in + 1);

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

/* What libfuse has just written to the socket goes on to the kernel. */
static void pass_on(int socket)
{
	union {
		struct fuse_out_header header;
		char bytes[sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out)];
	} reply;
	struct fuse_init_out *init = (struct fuse_init_out *)(&reply.header + 1);
	ssize_t size = read(socket, &reply, sizeof(reply));

	if (size == sizeof(reply) && reply.header.error == 0) {
		amend(init);
		fusecopy_uring_agree(kernel_flags2, init);
	}
	if (size > 0 && write(device, &reply, size) > 0 && reply.header.error == 0)
		fusecopy_uring_begin(device);
}

/* The device's number is a socket's meanwhile. Whoever waits for a request, which none can come before this answer,
 * may wait for the socket; it is woken when the other end is closed. */
void fusecopy_answer_init(struct fuse_session *se, const struct fuse_buf *buf, fusecopy_process *process)
{
	int kept = fcntl(device, F_DUPFD_CLOEXEC, 0), ends[2];

	amends = kept >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0;
	if (!amends) {
		process(se, buf);
	} else {
		dup3(ends[0], device, O_CLOEXEC);
		close(ends[0]);
		process(se, buf);
		dup3(kept, device, O_CLOEXEC);
		pass_on(ends[1]);
		close(ends[1]);
	}
	if (kept >= 0)
		close(kept);
}

void fusecopy_set_device(int fd)
{
	device = fd;
	notices = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}
