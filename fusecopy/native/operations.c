/*
 * The table of operations: for each what answers it here, what serves it in Python, and what waits for what.
 *
 * Rules of this lane:
 * 1. Only what needs no policy is answered here.
 * 2. Leaving is always right: Python can answer everything alone.
 * 3. No lock is held across a call that may wait for a disk.
 * 4. Python is never called, except by leaving it a request.
 * 5. Who answered is counted.
 */

#include "operations.h"

#include "deferred.h"
#include "attributes.h"
#include "backlog.h"
#include "barrier.h"
#include "clones.h"
#include "data.h"
#include "fuse.h"
#include "loop.h"
#include "names.h"
#include "opening.h"
#include "python.h"
#include "request.h"
#include "shared.h"
#include "uring.h"
#include "watch.h"

#include <errno.h>

#define OPERATION(OPCODE, PYTHON, KIND, ...)                                                                           \
	[FUSE_##OPCODE] = { .name = #OPCODE, .python = PYTHON, .kind = FUSECOPY_##KIND, __VA_ARGS__ }
#define ARGUMENTS(TYPE) .arguments = sizeof(struct TYPE)

static int answer_release(struct fusecopy_request *request);
static int answer_interrupt(struct fusecopy_request *request);

static const struct fusecopy_operation operations[FUSECOPY_OPCODES] = {
	OPERATION(LOOKUP, "lookup", ASKS, .answer = fusecopy_answer_lookup, .sees = FUSECOPY_SEES_CHANGES),
	OPERATION(FORGET, "forget", CHANGES, ARGUMENTS(fuse_forget_in), .answer = fusecopy_answer_forget, .is_open = 1),
	OPERATION(BATCH_FORGET, "batch_forget", CHANGES, ARGUMENTS(fuse_batch_forget_in), .answer = fusecopy_answer_batch_forget, .is_open = 1),
	OPERATION(GETATTR, "getattr", AT_ONCE, ARGUMENTS(fuse_getattr_in), .answer = fusecopy_answer_getattr),
	OPERATION(SETATTR, "setattr", CHANGES, ARGUMENTS(fuse_setattr_in), .before = FUSECOPY_FILE_FIRST),
	OPERATION(READLINK, "readlink", ASKS),
	OPERATION(SYMLINK, "symlink", CHANGES),
	OPERATION(MKNOD, "mknod", CHANGES, ARGUMENTS(fuse_mknod_in)),
	OPERATION(MKDIR, "mkdir", CHANGES, ARGUMENTS(fuse_mkdir_in), .answer = fusecopy_answer_mkdir),
	OPERATION(UNLINK, "unlink", CHANGES, .before = FUSECOPY_NAMES_FIRST),
	OPERATION(RMDIR, "rmdir", CHANGES),
	OPERATION(RENAME, "rename", CHANGES, ARGUMENTS(fuse_rename_in), .before = FUSECOPY_NAMES_FIRST),
	OPERATION(RENAME2, "rename2", CHANGES, ARGUMENTS(fuse_rename2_in), .before = FUSECOPY_NAMES_FIRST),
	OPERATION(LINK, "link", CHANGES, ARGUMENTS(fuse_link_in), .before = FUSECOPY_NAMES_FIRST),
	OPERATION(STATFS, "statfs", ASKS),
	OPERATION(SETXATTR, "setxattr", CHANGES, .arguments = FUSE_COMPAT_SETXATTR_IN_SIZE),
	OPERATION(GETXATTR, "getxattr", ASKS, ARGUMENTS(fuse_getxattr_in), .answer = fusecopy_answer_getxattr),
	OPERATION(LISTXATTR, "listxattr", ASKS, ARGUMENTS(fuse_getxattr_in)),
	OPERATION(REMOVEXATTR, "removexattr", CHANGES),
	OPERATION(OPEN, "open", ASKS, ARGUMENTS(fuse_open_in), .answer = fusecopy_answer_open, .sees = FUSECOPY_SEES_NAMES),
	OPERATION(CREATE, "create", CHANGES, ARGUMENTS(fuse_create_in), .answer = fusecopy_answer_create),
	OPERATION(READ, "read", AT_ONCE, ARGUMENTS(fuse_read_in), .answer = fusecopy_answer_read, .is_open = 1),
	OPERATION(WRITE, "write", CHANGES, ARGUMENTS(fuse_write_in), .answer = fusecopy_answer_write,
		  .before = FUSECOPY_RANGE_FIRST, .is_open = 1),
	OPERATION(COPY_FILE_RANGE, "copy_file_range", CHANGES, ARGUMENTS(fuse_copy_file_range_in),
		  .answer = fusecopy_answer_copy, .before_python = FUSECOPY_ALL_FIRST, .sees = FUSECOPY_SEES_CHANGES),
	OPERATION(LSEEK, "lseek", ASKS, ARGUMENTS(fuse_lseek_in)),
	OPERATION(FALLOCATE, "fallocate", CHANGES, ARGUMENTS(fuse_fallocate_in), .before = FUSECOPY_FILE_FIRST),
	OPERATION(IOCTL, "ioctl", CHANGES, ARGUMENTS(fuse_ioctl_in), .before = FUSECOPY_FILE_FIRST),
	OPERATION(FLUSH, "flush", ASKS, ARGUMENTS(fuse_flush_in)),
	OPERATION(FSYNC, "fsync", CHANGES, ARGUMENTS(fuse_fsync_in), .is_open = 1),
	OPERATION(RELEASE, "release", AT_ONCE, ARGUMENTS(fuse_release_in), .answer = answer_release, .is_open = 1),
	OPERATION(OPENDIR, "opendir", ASKS, ARGUMENTS(fuse_open_in), .sees = FUSECOPY_SEES_NAMES),
	OPERATION(READDIR, "readdir", ASKS, ARGUMENTS(fuse_read_in), .is_open = 1),
	OPERATION(READDIRPLUS, "readdirplus", ASKS, ARGUMENTS(fuse_read_in), .is_open = 1),
	OPERATION(FSYNCDIR, "fsyncdir", CHANGES, ARGUMENTS(fuse_fsync_in), .is_open = 1),
	OPERATION(RELEASEDIR, "releasedir", ASKS, ARGUMENTS(fuse_release_in), .is_open = 1),
	OPERATION(INTERRUPT, NULL, AT_ONCE, ARGUMENTS(fuse_interrupt_in), .answer = answer_interrupt, .is_open = 1),
	[FUSECOPY_TMPFILE] = { .name = "TMPFILE", .python = "tmpfile", ARGUMENTS(fuse_create_in) },
	[FUSECOPY_STATX] = {
		.name = "STATX",
		.python = "statx",
		ARGUMENTS(fusecopy_statx_in),
		.answer = fusecopy_answer_statx,
	},
	[FUSECOPY_COPY_FILE_RANGE_64] = {
		.name = "COPY_FILE_RANGE_64",
		.python = "copy_file_range",
		.kind = FUSECOPY_CHANGES,
		ARGUMENTS(fuse_copy_file_range_in),
		.answer = fusecopy_answer_copy,
		.before_python = FUSECOPY_ALL_FIRST,
		.sees = FUSECOPY_SEES_CHANGES,
	},
};

const struct fusecopy_operation *fusecopy_operation(uint32_t opcode)
{
	return opcode < FUSECOPY_OPCODES && operations[opcode].name ? &operations[opcode] : NULL;
}

/* Nobody waits for it: the kernel closes without an answer. */
static int answer_release(struct fusecopy_request *request)
{
	const struct fuse_release_in *in = request->arguments;
	const struct fusecopy_event released = {
		.kind = FUSECOPY_RELEASED,
		.source = (struct fusecopy_file *)(uintptr_t)in->fh,
	};

	fusecopy_note(&released);
	fusecopy_reply_error(request, 0);
	fusecopy_wake();
	return FUSECOPY_ANSWERED;
}

/* No reply: one would have the kernel send it again, or never again (fs/fuse/dev.c). */
static int answer_interrupt(struct fusecopy_request *request)
{
	const struct fuse_interrupt_in *in = request->arguments;

	fusecopy_interrupt(in->unique);
	return FUSECOPY_ANSWERED;
}

/* (allow_root) As libfuse has it: who holds an open file was let in when it was opened. */
static int is_denied(const struct fusecopy_operation *operation, const struct fusecopy_request *request)
{
	const struct fusecopy_connection *connection = fusecopy_get_connection();
	uint32_t uid = request->header->uid;

	return connection->denies_others && uid != 0 && uid != connection->owner && !operation->is_open;
}

/* What others finished before is seen. Whether the kernel came by a name that they changed, and looks again. */
static int is_stale(const struct fusecopy_operation *operation, const struct fusecopy_request *request)
{
	if (operation->sees == FUSECOPY_SEES_CHANGES)
		fusecopy_watch_keep_up();
	if (operation->sees != FUSECOPY_SEES_NAMES)
		return 0;
	fusecopy_watch_drain();
	return fusecopy_watch_refuses(request->header->nodeid, request->header->pid);
}

static int answer(const struct fusecopy_operation *operation, struct fusecopy_request *request)
{
	struct fusecopy_connection *connection = fusecopy_get_connection();
	int is_native = connection->is_native || !operation->python;

	if (!operation->answer || !is_native || operation->answer(request) == FUSECOPY_LEFT)
		return FUSECOPY_LEFT;
	__atomic_fetch_add(&connection->native[request->header->opcode], 1, __ATOMIC_RELAXED);
	return FUSECOPY_ANSWERED;
}

/* Whether it was answered natively. */
static int is_served_natively(struct fusecopy_request *request)
{
	const struct fusecopy_operation *operation = fusecopy_operation(request->header->opcode);

	fusecopy_count(request->header->opcode);
	if (!operation || is_denied(operation, request)) {
		fusecopy_reply_error(request, operation ? EACCES : ENOSYS);
		return 1;
	}
	if (is_stale(operation, request)) {
		fusecopy_reply_error(request, ESTALE);
		return 1;
	}
	if (!request->payload) {
		request->payload = (const char *)request->arguments + operation->arguments;
		request->payload_size = request->header->len - sizeof(*request->header) - operation->arguments;
	}
	fusecopy_barrier(operation->before, request);
	if (answer(operation, request) == FUSECOPY_ANSWERED)
		return 1;
	fusecopy_barrier(operation->before_python, request);
	fusecopy_begin_interruptible(request);
	fusecopy_uring_begin_python();
	on_left(request);
	fusecopy_uring_end_python();
	fusecopy_end_interruptible(request);
	return 0;
}

static void serve(struct fusecopy_request *request)
{
	uint32_t opcode = request->header->opcode;
	int64_t begun_ns = fusecopy_now_ns();
	int is_native = is_served_natively(request);

	fusecopy_count_latency(opcode, is_native, fusecopy_now_ns() - begun_ns);
}

static int kind_of(const struct fusecopy_request *request)
{
	const struct fusecopy_operation *operation = fusecopy_operation(request->header->opcode);

	if (!operation)
		return FUSECOPY_AT_ONCE;
	return request->header->opcode == FUSE_IOCTL && !fusecopy_is_change(request) ? FUSECOPY_ASKS : operation->kind;
}

void fusecopy_serve(void)
{
	static const struct fusecopy_server server = { .kind = kind_of, .serve = serve };

	fusecopy_receive_and_serve(&server);
}

void fusecopy_serve_ring(unsigned int queue)
{
	fusecopy_uring_receive_and_serve(queue, serve);
}
