/*
 * What begins and ends the session is handed over to pyfuse3's loop on trio's thread: it waits for an eventfd that
 * stands in for the device, and gets its requests from fuse_session_receive_buf.
 */

#include "handover.h"

#include "fuse.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct handed_over {
	struct handed_over *next;
	void *mem;
	size_t size;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handed_over *first;
static struct handed_over **last = &first;
static int handed_over_event = -1;

int fusecopy_is_handed_over(uint32_t opcode)
{
	return opcode == FUSE_INIT || opcode == FUSE_DESTROY || opcode == FUSE_NOTIFY_REPLY;
}

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
