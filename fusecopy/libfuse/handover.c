/*
 * Requests of a kind that pyfuse3 answers (INIT and rare ones) are handed over to its loop on trio's thread: it waits
 * for an eventfd that stands in for the device, and gets them from fuse_session_receive_buf.
 */

#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <linux/fuse.h>

struct handed_over {
	struct handed_over *next;
	void *mem;
	size_t size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handed_over *first;
static struct handed_over **last = &first;
static int handed_over_event = -1;

int fusecopy_begin_handing_over(void)
{
	handed_over_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	return handed_over_event;
}

void fusecopy_end_handing_over(void)
{
	const uint64_t one = 1;

	(void)!write(handed_over_event, &one, sizeof(one));
}

/* Gives the request, and the memory it is in, to pyfuse3's loop. */
void fusecopy_hand_over(struct fuse_buf *buf, int size)
{
	struct handed_over *request = malloc(sizeof(*request));
	const uint64_t one = 1;

	if (!request)
		abort(); /* there would be no answer, and its caller would wait for ever */
	*request = (struct handed_over){ .mem = buf->mem, .size = size };
	buf->mem = NULL;
	pthread_mutex_lock(&lock);
	*last = request;
	last = &request->next;
	pthread_mutex_unlock(&lock);
	(void)!write(handed_over_event, &one, sizeof(one));
}

int fusecopy_receive_handed_over(struct fuse_buf *buf)
{
	struct handed_over *request;
	uint64_t count;
	int size;

	if (read(handed_over_event, &count, sizeof(count)) < 0)
		return -EINTR;
	pthread_mutex_lock(&lock);
	request = first;
	if (request) {
		first = request->next;
		if (!first)
			last = &first;
	}
	pthread_mutex_unlock(&lock);
	if (!request) {
		/* Nothing but the end makes the event readable without a request; others are to see it too. */
		(void)!write(handed_over_event, &count, sizeof(count));
		return 0;
	}
	free(buf->mem);
	buf->mem = request->mem;
	buf->size = size = request->size;
	buf->flags = 0;
	free(request);
	return size;
}

/* Whether our table of operations has a handler for it, or libfuse answers it by itself. pyfuse3's handlers want
 * Python's lock and trio's thread. */
int fusecopy_is_ours(const struct fuse_buf *buf)
{
	switch (((const struct fuse_in_header *)buf->mem)->opcode) {
	case FUSE_LOOKUP:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_GETATTR:
	case FUSE_SETATTR:
	case FUSE_READLINK:
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
	case FUSE_OPEN:
	case FUSE_CREATE:
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_FSYNC:
	case FUSE_GETXATTR:
	case FUSE_OPENDIR:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_RELEASEDIR:
	case FUSE_LSEEK:
	case FUSE_FALLOCATE:
	case FUSE_IOCTL:
	case FUSE_COPY_FILE_RANGE:
	case FUSECOPY_COPY_FILE_RANGE_64:
	case FUSE_INTERRUPT:
		return 1;
	default:
		return 0;
	}
}
