/*
 * One ring: io_uring_setup(2), its memory, and io_uring_enter(2). Only its own thread uses it, and the kernel.
 */

#include "ring.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/io_uring.h>

#define COMMANDS 2

/* With IORING_SETUP_SQE128; the kernel's struct is the first half. */
#define COMMAND_BYTES 128

static void *map(const struct fusecopy_ring *ring, size_t size, off_t what)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, what);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Every kernel that has FUSE over io_uring maps both queues at once (IORING_FEAT_SINGLE_MMAP, Linux 5.4). */
static int map_all(struct fusecopy_ring *ring, const struct io_uring_params *params)
{
	unsigned *places;

	ring->rings_size = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	if (ring->rings_size < params->sq_off.array + params->sq_entries * sizeof(unsigned))
		ring->rings_size = params->sq_off.array + params->sq_entries * sizeof(unsigned);
	ring->commands_size = (size_t)params->sq_entries * COMMAND_BYTES;
	ring->rings = map(ring, ring->rings_size, IORING_OFF_SQ_RING);
	ring->commands = map(ring, ring->commands_size, IORING_OFF_SQES);
	if (!ring->rings || !ring->commands)
		return -ENOMEM;
	ring->submission_head = (unsigned *)(ring->rings + params->sq_off.head);
	ring->submission_tail = (unsigned *)(ring->rings + params->sq_off.tail);
	ring->submission_mask = params->sq_entries - 1;
	ring->completion_head = (unsigned *)(ring->rings + params->cq_off.head);
	ring->completion_tail = (unsigned *)(ring->rings + params->cq_off.tail);
	ring->completion_mask = params->cq_entries - 1;
	ring->completions = (struct io_uring_cqe *)(ring->rings + params->cq_off.cqes);
	places = (unsigned *)(ring->rings + params->sq_off.array);
	for (unsigned i = 0; i < params->sq_entries; i++)
		places[i] = i;
	return 0;
}

int fusecopy_ring_open(struct fusecopy_ring *ring)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQE128 };
	int error;

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(__NR_io_uring_setup, COMMANDS, &params);
	if (ring->fd < 0)
		return -errno;
	error = map_all(ring, &params);
	if (error)
		fusecopy_ring_close(ring);
	return error;
}

void fusecopy_ring_close(struct fusecopy_ring *ring)
{
	if (ring->commands)
		munmap(ring->commands, ring->commands_size);
	if (ring->rings)
		munmap(ring->rings, ring->rings_size);
	if (ring->fd >= 0)
		close(ring->fd);
	memset(ring, 0, sizeof(*ring));
	ring->fd = -1;
}

static unsigned waiting(const struct fusecopy_ring *ring)
{
	return *ring->submission_tail - __atomic_load_n(ring->submission_head, __ATOMIC_ACQUIRE);
}

struct io_uring_sqe *fusecopy_ring_command(struct fusecopy_ring *ring)
{
	unsigned tail = *ring->submission_tail;
	char *command = ring->commands + (size_t)(tail & ring->submission_mask) * COMMAND_BYTES;

	memset(command, 0, COMMAND_BYTES);
	/* The kernel reads it in io_uring_enter(2) only, when whoever asked has filled it in. */
	__atomic_store_n(ring->submission_tail, tail + 1, __ATOMIC_RELEASE);
	return (struct io_uring_sqe *)command;
}

static int is_complete(const struct fusecopy_ring *ring)
{
	return *ring->completion_head != __atomic_load_n(ring->completion_tail, __ATOMIC_ACQUIRE);
}

static int enter(struct fusecopy_ring *ring, unsigned least)
{
	unsigned flags = least ? IORING_ENTER_GETEVENTS : 0;
	int done = syscall(__NR_io_uring_enter, ring->fd, waiting(ring), least, flags, NULL, 0);

	return done >= 0 || errno == EINTR || errno == EAGAIN || errno == EBUSY ? 0 : -errno;
}

int fusecopy_ring_submit(struct fusecopy_ring *ring)
{
	int error = 0;

	while (waiting(ring) && !error)
		error = enter(ring, 0);
	return error;
}

int fusecopy_ring_wait(struct fusecopy_ring *ring, struct io_uring_cqe *completion)
{
	unsigned head = *ring->completion_head;
	int error = 0;

	while ((waiting(ring) || !is_complete(ring)) && !error)
		error = enter(ring, 1);
	if (error)
		return error;
	memcpy(completion, &ring->completions[head & ring->completion_mask], sizeof(*completion));
	__atomic_store_n(ring->completion_head, head + 1, __ATOMIC_RELEASE);
	return 0;
}
