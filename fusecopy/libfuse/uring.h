/* Requests by FUSE over io_uring (uring.c). */

#ifndef FUSECOPY_URING_H
#define FUSECOPY_URING_H

#include <stdint.h>

struct fuse_init_out;
struct fusecopy_request;

/* What there is for requests by io_uring, of which the kernel has a queue for each possible processor. */
struct fusecopy_rings {
	int agreed;  /* requests come that way */
	int failure; /* errno of an entry that could not be had, or 0 */
	unsigned int queues;
	unsigned int entries; /* in all queues; each waits for a request or has one */
	uint64_t entry_bytes; /* of memory each may come to use */
	uint64_t requests;    /* that came so */
};

/* Begin to make entries for so many processors of what is mounted there, and later at most so many more; 0 or a
 * negative errno. */
int fusecopy_uring_prepare(const char *mounted_on, unsigned int processors, unsigned int entries_each,
			   unsigned int more);

/* Run by a thread for each entry until there are no more requests, and by one that watches them. */
void fusecopy_uring_receive_and_serve(unsigned int queue, void (*serve)(struct fusecopy_request *));
void fusecopy_uring_watch(void);

/* A thread for an entry could not be had. */
void fusecopy_uring_fail(int error);

/* Wait until all are there, before INIT is answered; 0 or a negative errno. */
int fusecopy_uring_await_ready(void);

/* Agree to FUSE_OVER_IO_URING in the answer to INIT where the kernel offered it and all is there for it; once that
 * answer is written to the device, begin, or end where it did not. */
void fusecopy_uring_agree(uint32_t offered, struct fuse_init_out *init);
void fusecopy_uring_begin(int device);
void fusecopy_uring_end(void);

/* Whether the calling thread serves an entry; have its processor served by another, because it is going to wait. */
int fusecopy_on_ring(void);
void fusecopy_uring_make_way(void);

/* Around what Python does for a request by io_uring: one thread at a time, until one is slow. */
void fusecopy_uring_begin_python(void);
void fusecopy_uring_end_python(void);

void fusecopy_uring_look(struct fusecopy_rings *rings);

#endif
