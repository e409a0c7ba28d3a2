/*
 * COPY_FILE_RANGE answered at once, by one FICLONERANGE: what a reflink of the whole range can carry needs no
 * decision. Python hears of it afterwards; what cannot be had so is Python's from the beginning.
 */

#include "loop.h"

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

/* Finds the source's size and the bytes that one clone is for: 0 where it takes a closer look: what is there already may be shared already, at
 * the source's end there is nothing to do, and what the kernel writes by itself may change before it is proven. */
static void measure(struct fusecopy_event *clone)
{
	const struct fusecopy_file *source = clone->source, *destination = clone->destination;
	struct stat in, out;
	uint64_t left;

	if (source->unseen || destination->unseen || clone->off_in < 0 || clone->off_out < 0)
		return;
	if (fstat(source->fd, &in) < 0 || fstat(destination->fd, &out) < 0)
		return;
	if (in.st_size <= clone->off_in || out.st_size > clone->off_out)
		return;
	left = in.st_size - clone->off_in;
	clone->size = in.st_size;
	clone->copied = clone->length < left ? clone->length : left;
}

static int clone_range(const struct fusecopy_event *clone)
{
	struct file_clone_range range = {
		.src_fd = clone->source->fd,
		.src_offset = clone->off_in,
		.src_length = clone->copied,
		.dest_offset = clone->off_out,
	};

	return ioctl(clone->destination->fd, FICLONERANGE, &range);
}

int fusecopy_clone_at_once(fuse_req_t req, const struct fusecopy_copy *copy)
{
	const struct fuse_ctx *who = fuse_req_ctx(req);
	struct fusecopy_event clone = {
		.kind = FUSECOPY_CLONED,
		.source = (struct fusecopy_file *)(uintptr_t)copy->fh_in,
		.destination = (struct fusecopy_file *)(uintptr_t)copy->fh_out,
		.off_in = copy->off_in,
		.off_out = copy->off_out,
		.length = copy->length,
	};

	if (!fusecopy_in_loop() || !__atomic_load_n(&allowed, __ATOMIC_SEQ_CST))
		return 0;
	if (__atomic_load_n(&refusing, __ATOMIC_RELAXED) == clone.destination->device)
		return 0;
	clone.begun_ns = fusecopy_now_ns();
	measure(&clone);
	if (clone.copied == 0 || fusecopy_identify(who->pid, who->uid, &clone.caller) < 0)
		return 0;
	fusecopy_settle_range(clone.destination, clone.off_out, clone.copied);
	if (clone_range(&clone) < 0) {
		if (errno == EOPNOTSUPP)
			__atomic_store_n(&refusing, clone.destination->device, __ATOMIC_RELAXED);
		return 0;
	}
	clone.ended_ns = fusecopy_now_ns();
	fusecopy_note(&clone);
	fusecopy_reply_copy(req, clone.copied);
	fusecopy_see_to();
	return 1;
}
