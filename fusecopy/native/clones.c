/*
 * COPY_FILE_RANGE answered at once, by one FICLONERANGE: what a reflink of the whole range can carry needs no
 * decision. Python hears of it afterwards; what cannot be had so is Python's from the beginning.
 */

#include "clones.h"

#include "afterwards.h"
#include "callers.h"
#include "fuse.h"
#include "replies.h"
#include "request.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include <linux/fs.h>

static int allowed;

/* The last filesystem (st_dev) that has no clones: to ask it again for each copy is for whoever logs the refusal. */
static uint64_t refusing;

void fusecopy_allow_clones(int are_allowed)
{
	__atomic_store_n(&allowed, are_allowed, __ATOMIC_SEQ_CST);
}

/* Finds the source's size, the bytes that one clone is for, and the destination's size: 0 bytes where it takes a closer
 * look: what is there already may be shared already, at the source's end there is nothing to do, and what the kernel
 * writes by itself may change before it is proven. */
static void measure(struct fusecopy_event *event, struct stat *out)
{
	const struct fusecopy_file *source = event->source, *destination = event->destination;
	struct fusecopy_clone *clone = &event->clone;
	struct stat in;
	uint64_t left;

	if (source->unseen || destination->unseen || clone->off_in < 0 || clone->off_out < 0)
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
static void settle(const struct fusecopy_event *event, const struct stat *out)
{
	const struct fusecopy_clone *clone = &event->clone;
	uint64_t size = out->st_size;

	fusecopy_settle_clone(event->destination, size - size % out->st_blksize, clone->off_out + clone->copied);
}

static int clone_range(const struct fusecopy_event *event)
{
	struct file_clone_range range = {
		.src_fd = event->source->fd,
		.src_offset = event->clone.off_in,
		.src_length = event->clone.copied,
		.dest_offset = event->clone.off_out,
	};

	return ioctl(event->destination->fd, FICLONERANGE, &range);
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

	if (!__atomic_load_n(&allowed, __ATOMIC_SEQ_CST))
		return FUSECOPY_LEFT;
	if (__atomic_load_n(&refusing, __ATOMIC_RELAXED) == event.destination->device)
		return FUSECOPY_LEFT;
	event.clone.begun_ns = fusecopy_now_ns();
	measure(&event, &out);
	if (event.clone.copied == 0 || fusecopy_identify(request->header->pid, request->header->uid, &event.caller) < 0)
		return FUSECOPY_LEFT;
	settle(&event, &out);
	if (clone_range(&event) < 0) {
		if (errno == EOPNOTSUPP)
			__atomic_store_n(&refusing, event.destination->device, __ATOMIC_RELAXED);
		return FUSECOPY_LEFT;
	}
	event.clone.ended_ns = fusecopy_now_ns();
	fusecopy_note(&event);
	fusecopy_reply_copy(request, event.clone.copied);
	fusecopy_see_to();
	return FUSECOPY_ANSWERED;
}
