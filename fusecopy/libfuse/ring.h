/* One io_uring(7) with room for two commands at a time, by the system calls themselves: liburing would be one more
 * library to build and run with, in place of the few lines of ring.c. */

#ifndef FUSECOPY_LIBFUSE_RING_H
#define FUSECOPY_LIBFUSE_RING_H

#include <stddef.h>

struct io_uring_sqe;
struct io_uring_cqe;

struct fusecopy_ring {
	int fd; /* -1: closed */
	char *rings;
	size_t rings_size;
	char *commands;
	size_t commands_size;
	unsigned *submission_head, *submission_tail, submission_mask;
	unsigned *completion_head, *completion_tail, completion_mask;
	struct io_uring_cqe *completions;
};

/* Returns 0, or a negative errno: EPERM where the administrator or a seccomp filter forbids io_uring, ENOMEM where
 * RLIMIT_MEMLOCK does. */
int fusecopy_ring_open(struct fusecopy_ring *ring);
void fusecopy_ring_close(struct fusecopy_ring *ring);

/* The next command, all zero and 128 bytes long; it goes to the kernel when it is submitted. */
struct io_uring_sqe *fusecopy_ring_command(struct fusecopy_ring *ring);

/* Returns 0 or a negative errno, as waiting does. */
int fusecopy_ring_submit(struct fusecopy_ring *ring);

/* Submits what there is and takes the next completion, waiting for it. */
int fusecopy_ring_wait(struct fusecopy_ring *ring, struct io_uring_cqe *completion);

#endif
