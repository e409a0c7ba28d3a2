/*
 * What requests wait for: an answer may be given before it is proven and told (deferred.c, and proofs by Python on a
 * thread of the loop), but nothing that would make the log tell something else comes in between.
 *
 * A clone's proof looks at the bytes of both files, every report tells the names that its files have, and the report of
 * what was written looks for a source in what was read. So it is told of a file:
 * - what has it as its source or its destination;
 * - what was written, where it has been read (sources.c): it may have come from there;
 * - what names files that it does not know as its own (`tells_others`).
 * A directory's name is part of all names below it, and waits for everything.
 */

#include "barrier.h"

#include "borrowing.h"
#include "deferred.h"
#include "fuse.h"
#include "request.h"
#include "sources.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

/* Of the pages and blocks at the ends of a range a part lies outside of it: what comes this near may change them. */
#define NEARBY 65536

/* Copies that Python is proving, and how many there ever were. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_proven = PTHREAD_COND_INITIALIZER;
static struct fusecopy_proof *proofs;
static uint64_t proofs_begun;

/* What is about to happen to a file. */
struct change {
	struct fusecopy_identity file;
	int is_whole; /* it, its names included; else the bytes from `low` to `high` */
	int is_exact; /* else up to NEARBY further ones, and the rest of a block that the file ends in */
	uint64_t low;
	uint64_t high;
};

/* Some change their own file and one more, and some so many that all is waited for. */
struct changes {
	int is_all;
	int count;
	struct change files[2];
};

static int is_busy(void)
{
	return fusecopy_is_pending() || __atomic_load_n(&proofs, __ATOMIC_SEQ_CST);
}

/* ---- what disturbs what -------------------------------------------------------------------------------- */

static int disturbs_bytes(const struct change *change, int is_source, uint64_t off_out, uint64_t copied)
{
	uint64_t nearby = change->is_exact ? 0 : NEARBY;
	uint64_t end = off_out + copied;

	if (change->is_whole || is_source)
		return 1;
	if (off_out >= change->high + nearby)
		return 0;
	return change->low < end + nearby || (!change->is_exact && end % NEARBY);
}

static int disturbs_event(const void *of, const struct fusecopy_event *event, int is_source)
{
	const struct change *change = of;

	if (event->kind != FUSECOPY_CLONED || event->clone.proven)
		return change->is_whole;
	return disturbs_bytes(change, is_source, event->clone.off_out, event->clone.copied);
}

static int is(const struct fusecopy_file *file, const struct fusecopy_identity *other)
{
	return file->ino == other->ino && file->device == other->device;
}

static int disturbs_proof(const struct change *change, const struct fusecopy_proof *proof)
{
	return (is(proof->source, &change->file) && disturbs_bytes(change, 1, proof->off_out, proof->copied)) ||
	       (is(proof->destination, &change->file) && disturbs_bytes(change, 0, proof->off_out, proof->copied));
}

/* Under the lock. */
static int disturbs_any_proof(const struct change *change)
{
	for (const struct fusecopy_proof *proof = proofs; proof; proof = proof->next)
		if (disturbs_proof(change, proof))
			return 1;
	return 0;
}

static void await_change(const struct change *change)
{
	fusecopy_await_events(&change->file, disturbs_event, change);
	if (change->is_whole)
		fusecopy_await_telling(fusecopy_is_source(&change->file));
	pthread_mutex_lock(&lock);
	while (disturbs_any_proof(change))
		pthread_cond_wait(&is_proven, &lock);
	pthread_mutex_unlock(&lock);
}

/* Under the lock. */
static int are_proven(uint64_t number)
{
	for (const struct fusecopy_proof *proof = proofs; proof; proof = proof->next)
		if (proof->number <= number)
			return 0;
	return 1;
}

void fusecopy_barrier_all(void)
{
	uint64_t begun;

	if (!is_busy())
		return;
	pthread_mutex_lock(&lock);
	begun = proofs_begun;
	pthread_mutex_unlock(&lock);
	fusecopy_await_all();
	pthread_mutex_lock(&lock);
	while (!are_proven(begun))
		pthread_cond_wait(&is_proven, &lock);
	pthread_mutex_unlock(&lock);
}

void fusecopy_barrier_clone(const struct fusecopy_file *file, uint64_t size, uint64_t end)
{
	const struct change change = { .file = { file->device, file->ino }, .low = size, .high = end, .is_exact = 1 };

	if (is_busy())
		await_change(&change);
}

/* ---- what a request changes ---------------------------------------------------------------------------- */

/* A SETATTR of something else than the size, and an ioctl without an argument, change nothing that is told: Python's
 * open() asks by one whether a file is a terminal. */
int fusecopy_is_change(const struct fusecopy_request *request)
{
	const struct fuse_setattr_in *setattr = request->arguments;
	const struct fuse_ioctl_in *ioctl = request->arguments;

	if (request->header->opcode == FUSE_SETATTR)
		return !!(setattr->valid & FATTR_SIZE);
	return request->header->opcode != FUSE_IOCTL || ioctl->in_size > 0;
}

static void add(struct changes *changes, uint64_t device, uint64_t ino)
{
	changes->files[changes->count++] = (struct change){ .file = { device, ino }, .is_whole = 1 };
}

static void add_open(struct changes *changes, uint64_t fh)
{
	const struct fusecopy_file *file = (const struct fusecopy_file *)(uintptr_t)fh;

	add(changes, file->device, file->ino);
}

static void add_inode(struct changes *changes, uint64_t number)
{
	struct fusecopy_inode *inode = fusecopy_inode_of(number);

	if (!inode) {
		changes->is_all = 1;
		return;
	}
	add(changes, inode->device, inode->ino);
	fusecopy_release(inode);
}

/* What has a name: of what is not there nothing changes. */
static void add_name(struct changes *changes, uint64_t directory, const char *name)
{
	struct fusecopy_inode *inode = fusecopy_borrow(directory);
	struct stat st;

	if (!inode) {
		changes->is_all = 1;
		return;
	}
	if (fstatat(inode->descriptor, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		changes->is_all |= S_ISDIR(st.st_mode);
		add(changes, st.st_dev, st.st_ino);
	}
	fusecopy_give_back(inode);
}

static void add_range(struct changes *changes, const struct fuse_write_in *in)
{
	const struct fusecopy_file *file = (const struct fusecopy_file *)(uintptr_t)in->fh;

	changes->files[changes->count++] = (struct change){
		.file = { file->device, file->ino },
		.low = in->offset,
		.high = in->offset + in->size,
	};
}

static void add_file(struct changes *changes, const struct fusecopy_request *request)
{
	const struct fuse_fallocate_in *fallocate = request->arguments;
	const struct fuse_ioctl_in *ioctl = request->arguments;

	if (request->header->opcode == FUSE_SETATTR)
		add_inode(changes, request->header->nodeid);
	else if (request->header->opcode == FUSE_FALLOCATE)
		add_open(changes, fallocate->fh);
	else if (!(ioctl->flags & FUSE_IOCTL_DIR))
		add_open(changes, ioctl->fh);
}

static void add_names(struct changes *changes, const struct fusecopy_request *request)
{
	const struct fuse_rename_in *rename = request->arguments; /* rename2's begins alike */
	const struct fuse_link_in *link = request->arguments;

	if (request->header->opcode == FUSE_LINK) {
		add_inode(changes, link->oldnodeid);
		return;
	}
	add_name(changes, request->header->nodeid, request->payload);
	if (request->header->opcode != FUSE_UNLINK)
		add_name(changes, rename->newdir, request->payload + strlen(request->payload) + 1);
}

void fusecopy_barrier(int scope, const struct fusecopy_request *request)
{
	struct changes changes = { .is_all = scope == FUSECOPY_ALL_FIRST };

	if (scope == FUSECOPY_NOTHING_FIRST || !is_busy() || !fusecopy_is_change(request))
		return;
	if (scope == FUSECOPY_RANGE_FIRST)
		add_range(&changes, request->arguments);
	if (scope == FUSECOPY_FILE_FIRST)
		add_file(&changes, request);
	if (scope == FUSECOPY_NAMES_FIRST)
		add_names(&changes, request);
	if (changes.is_all)
		fusecopy_barrier_all();
	else
		for (int n = 0; n < changes.count; n++)
			await_change(&changes.files[n]);
}

/* ---- copies that are proven where they were answered ---------------------------------------------------- */

void fusecopy_begin_proof(struct fusecopy_proof *proof)
{
	pthread_mutex_lock(&lock);
	proof->number = ++proofs_begun;
	proof->next = proofs;
	__atomic_store_n(&proofs, proof, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&lock);
}

void fusecopy_end_proof(const struct fusecopy_proof *proof)
{
	struct fusecopy_proof **link = &proofs;

	pthread_mutex_lock(&lock);
	while (*link != proof)
		link = &(*link)->next;
	__atomic_store_n(link, proof->next, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&is_proven);
	pthread_mutex_unlock(&lock);
}
