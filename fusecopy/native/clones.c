/*
 * COPY_FILE_RANGE answered at once, by one FICLONERANGE: what a reflink of the whole range can carry needs no
 * decision. Where the filesystem has no such operation, its own copy_file_range carries what is small. Python hears of
 * it afterwards; what cannot be had so is Python's from the beginning.
 */

#include "clones.h"

#include "barrier.h"
#include "deferred.h"
#include "callers.h"
#include "fuse.h"
#include "replies.h"
#include "request.h"
#include "watch.h"

#include "copying/calls.h"

#include <errno.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

/* What really moves bytes is bounded: this thread serves others, too. */
#define MOST_MOVED (1 << 20)

static int clones_allowed, copies_allowed, proves_first;

void fusecopy_allow_clones(int are_allowed)
{
	__atomic_store_n(&clones_allowed, are_allowed, __ATOMIC_SEQ_CST);
}

void fusecopy_allow_copies(int are_allowed)
{
	__atomic_store_n(&copies_allowed, are_allowed, __ATOMIC_SEQ_CST);
}

void fusecopy_prove_first(int is_first)
{
	__atomic_store_n(&proves_first, is_first, __ATOMIC_SEQ_CST);
}

static int is_proven_first(const struct fusecopy_event *event)
{
	return event->source->unseen || event->destination->unseen || __atomic_load_n(&proves_first, __ATOMIC_SEQ_CST);
}

/* Finds the source's size, the bytes that one clone is for, and the destination's size: 0 bytes where it takes a closer
 * look: what is there already may be shared already, and at the source's end there is nothing to do. */
static void measure(struct fusecopy_event *event, struct stat *out)
{
	const struct fusecopy_file *source = event->source, *destination = event->destination;
	struct fusecopy_clone *clone = &event->clone;
	struct stat in;
	uint64_t left;

	if (clone->off_in < 0 || clone->off_out < 0)
		return;
	if (fstat(source->fd, &in) < 0 || fstat(destination->fd, out) < 0)
		return;
	if (in.st_size <= clone->off_in || out->st_size > clone->off_out)
		return;
	left = in.st_size - clone->off_in;
	clone->size = in.st_size;
	clone->copied = clone->length < left ? clone->length : left;
}

/* A file that ends within a block has that filled up before what is cloned behind it. */
static void barrier(const struct fusecopy_event *event, const struct stat *out)
{
	const struct fusecopy_clone *clone = &event->clone;
	uint64_t size = out->st_size;

	fusecopy_barrier_clone(event->destination, size - size % out->st_blksize, clone->off_out + clone->copied);
}

/* Whether another server, or the kernel's splice, would copy: which of them cannot be seen, and Python says so. */
static int is_on_fuse(int fd)
{
	struct statfs filesystem;

	return fstatfs(fd, &filesystem) == 0 && filesystem.f_type == FUSE_SUPER_MAGIC;
}

/* A range whose blocks could be shared, so that nothing but the lack of the operation refused it, and without holes,
 * which are to stay holes. */
static int is_plain(const struct fusecopy_event *event, const struct stat *out)
{
	const struct fusecopy_clone *clone = &event->clone;
	uint64_t end = clone->off_in + clone->copied;

	if ((clone->off_in | clone->off_out) % out->st_blksize || (end % out->st_blksize && end != clone->size))
		return 0;
	if (is_on_fuse(event->destination->fd))
		return 0;
	return lseek(event->source->fd, clone->off_in, SEEK_HOLE) >= (int64_t)end;
}

static ssize_t copy_range(const struct fusecopy_event *event)
{
	off_t off_in = event->clone.off_in, off_out = event->clone.off_out;

	return copy_file_range(event->source->fd, &off_in, event->destination->fd, &off_out, event->clone.copied, 0);
}

/* As the program, where the filesystem has room that it gives by the user (see data.c). That would take setuid and
 * setgid bits away, which the kernel has seen to. */
static ssize_t copy_for(uid_t uid, const struct fusecopy_event *event, const struct stat *out)
{
	ssize_t copied;

	if (!event->destination->asks_writer || uid == 0)
		return copy_range(event);
	if (out->st_mode & (S_ISUID | S_ISGID))
		return -1;
	setfsuid(uid);
	copied = copy_range(event);
	setfsuid(0);
	return copied;
}

/* Whether it carried all of it. What is cut short or fails Python begins anew: the same bytes go to the same place. */
static int carry(struct fusecopy_event *event, uid_t uid, const struct stat *out)
{
	int cloned = fc_clone_range(event->source->fd, event->clone.off_in, event->clone.copied, event->destination->fd,
				    event->clone.off_out);

	if (cloned == 0)
		return 1;
	if (cloned != -EOPNOTSUPP || !__atomic_load_n(&copies_allowed, __ATOMIC_SEQ_CST))
		return 0;
	event->clone.refused = EOPNOTSUPP;
	return event->clone.copied <= MOST_MOVED && is_plain(event, out) &&
	       copy_for(uid, event, out) == (ssize_t)event->clone.copied;
}

/* What others do from now on the proof does not see; what they did before it may have. */
static void prove(struct fusecopy_event *event, uint64_t source, uint64_t destination)
{
	const uint64_t numbers[] = { source, destination };

	fusecopy_prove(event);
	if (fusecopy_watch_changed_since(event->clone.begun_ns, numbers, 2))
		event->clone.proven = FUSECOPY_CHANGED;
}

uint64_t fusecopy_copy_length(const struct fusecopy_request *request)
{
	const struct fuse_copy_file_range_in *in = request->arguments;

	if (request->header->opcode == FUSE_COPY_FILE_RANGE && in->len > FUSECOPY_LENGTH_LIMIT_47)
		return FUSECOPY_LENGTH_LIMIT_47;
	return in->len;
}

int fusecopy_answer_copy(struct fusecopy_request *request)
{
	const struct fuse_copy_file_range_in *in = request->arguments;
	struct fusecopy_event event = {
		.kind = FUSECOPY_CLONED,
		.source = (struct fusecopy_file *)(uintptr_t)in->fh_in,
		.destination = (struct fusecopy_file *)(uintptr_t)in->fh_out,
		.clone = { .off_in = in->off_in, .off_out = in->off_out, .length = fusecopy_copy_length(request) },
	};
	struct stat out;

	if (!__atomic_load_n(&clones_allowed, __ATOMIC_SEQ_CST))
		return FUSECOPY_LEFT;
	event.clone.begun_ns = fusecopy_now_ns();
	measure(&event, &out);
	if (event.clone.copied == 0 || fusecopy_identify(request->header->pid, request->header->uid, &event.caller) < 0)
		return FUSECOPY_LEFT;
	barrier(&event, &out);
	if (!carry(&event, request->header->uid, &out))
		return FUSECOPY_LEFT;
	if (is_proven_first(&event))
		prove(&event, request->header->nodeid, in->nodeid_out);
	event.clone.ended_ns = fusecopy_now_ns();
	fusecopy_note(&event);
	fusecopy_reply_copy(request, event.clone.copied);
	fusecopy_wake();
	return FUSECOPY_ANSWERED;
}
