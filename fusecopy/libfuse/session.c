/*
 * The functions of libfuse that are interposed.
 *
 * This object is loaded with RTLD_GLOBAL before pyfuse3, so that pyfuse3's calls bind to the functions below.
 * fuse_session_new (from libfuse 3.17 on fuse_session_new_versioned) puts our INIT before pyfuse3's;
 * fuse_session_fd and fuse_session_receive_buf put the request loop (loop.c) between pyfuse3 and the device.
 */

#include "session.h"

#include "compat.h"
#include "fuse.h"
#include "handover.h"
#include "request.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* Callers of libfuse 3.17 and later are bound to the _versioned symbol by a macro; we define both. */
#undef fuse_session_new

/* The kernel keeps the rest of its reads ahead, of mapped pages that it writes and of RELEASEs to itself while so many
 * of them have no answer; of the usual 12, a few that wait for a slow disk would stop all. */
#define MAX_BACKGROUND 512

struct libfuse_version;

static struct fuse_lowlevel_ops pyfuse3_ops;
static int installed;
static struct fuse_session *session;
static int device = -1;

int fusecopy_installed(void)
{
	return installed;
}

int fusecopy_device(void)
{
	return device;
}

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fusecopy_connection *connection = fusecopy_get_connection();

	pyfuse3_ops.init(userdata, conn);
	/* libfuse refuses to begin unless this is what the kernel was told when it mounted. */
	conn->max_read = connection->max_read;
	conn->want |= connection->want & conn->capable;
	conn->want &= ~connection->refuse;
#ifdef FUSE_CAP_SETXATTR_EXT
	conn->want &= ~FUSE_CAP_SETXATTR_EXT; /* SETXATTR has one form then */
#endif
	fusecopy_want(conn, connection);
	if (!conn->max_background)
		conn->max_background = MAX_BACKGROUND;
	connection->major = conn->proto_major;
	connection->minor = conn->proto_minor;
	connection->max_write = conn->max_write;
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
	pyfuse3_ops = ops;
	ops.init = do_init;
	*op_size = sizeof(ops);
	installed = 1;
	return &ops;
}

/* pyfuse3 encodes its options in ASCII, and a path may be any bytes. A comma would end the option. */
static int add_source(struct fuse_args *args)
{
	char option[sizeof("fsname=") + 2 * PATH_MAX] = "fsname=";
	size_t length = strlen(option);
	const char *from;

	for (from = fusecopy_get_connection()->source; from && *from && length < sizeof(option) - 2; from++) {
		if (*from == ',' || *from == '\\')
			option[length++] = '\\';
		option[length++] = *from;
	}
	option[length] = '\0';
	return fuse_opt_add_arg(args, "-o") < 0 ? -1 : fuse_opt_add_arg(args, option);
}

/* libfuse knows ENODEV as the end; a connection that was ended while requests were under way, or by force, may say
 * ECONNABORTED (fs/fuse/dev.c), which pyfuse3 would take for a fault and raise. */
int fusecopy_receive(struct fuse_buf *buf)
{
	static int (*call)(struct fuse_session *, struct fuse_buf *);
	int result;

	if (!call)
		call = real("fuse_session_receive_buf", "FUSE_3.0");
	result = call(session, buf);
	if (result != -ECONNABORTED)
		return result;
	fuse_session_exit(session);
	return 0;
}

/* Of all functions here, those that pyfuse3 is to find. */
#pragma GCC visibility push(default)

struct fuse_session *fuse_session_new(struct fuse_args *args, const struct fuse_lowlevel_ops *op, size_t op_size,
				      void *userdata)
{
	struct fuse_session *(*call)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t, void *) =
		real("fuse_session_new", "FUSE_3.0");

	op = table(op, &op_size);
	return call && add_source(args) == 0 ? call(args, op, op_size, userdata) : NULL;
}

struct fuse_session *fuse_session_new_versioned(struct fuse_args *args, const struct fuse_lowlevel_ops *op,
						size_t op_size, struct libfuse_version *version, void *userdata)
{
	struct fuse_session *(*call)(struct fuse_args *, const struct fuse_lowlevel_ops *, size_t,
				     struct libfuse_version *, void *) =
		real("fuse_session_new_versioned", "FUSE_3.17");

	op = table(op, &op_size);
	return call && add_source(args) == 0 ? call(args, op, op_size, version, userdata) : NULL;
}

/* pyfuse3 asks once, after mounting, for what it is to wait for. A request that made the device readable is gone
 * again if its caller was killed meanwhile, so no read of it may block. */
int fuse_session_fd(struct fuse_session *se)
{
	int (*call)(struct fuse_session *) = real("fuse_session_fd", "FUSE_3.0");
	int fd = call(se);

	session = se;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fusecopy_set_device(fd);
	device = fd;
	return fusecopy_begin_handing_over();
}

int fuse_session_receive_buf(struct fuse_session *se, struct fuse_buf *buf)
{
	(void)se;
	return fusecopy_receive_handed_over(buf);
}

void fuse_session_process_buf(struct fuse_session *se, const struct fuse_buf *buf)
{
	fusecopy_process *call = real("fuse_session_process_buf", "FUSE_3.0");
	const struct fuse_in_header *in = buf->mem;

	fusecopy_count(in->opcode);
	if (in->opcode == FUSE_INIT) {
		fusecopy_see_init(in);
		fusecopy_answer_init(se, buf, call);
	} else {
		call(se, buf);
	}
}

#pragma GCC visibility pop
