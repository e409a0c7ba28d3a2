/*
 * The request loop: threads that receive requests and answer them where they were received.
 *
 * One thread at a time has the turn: it receives a request, has it answered, and receives the next, without any
 * hand-over between threads, because waking another one costs more than most answers. A request that is not
 * answered within about a millisecond makes way: the overseer gives the turn to a spare thread, so that whoever
 * waits for a disk holds up nobody else. What is known to wait makes way by itself (fusecopy_make_way).
 *
 * Requests of a kind that pyfuse3 answers (INIT and rare ones) are handed over to its loop on trio's thread: it
 * waits for an eventfd that stands in for the device, and gets them from fuse_session_receive_buf.
 */

#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <linux/fuse.h>

#define TICK_NS 1000000

/* After so many ticks without a request the overseer sleeps until the next one. */
#define TICKS_BEFORE_SLEEP 50

/* For so many ticks a turn may be kept: not for ever, because the disk may be slow. */
#define KEPT_TICKS 20

/* Threads that wait for the turn beyond this number end. */
#define SPARE_THREADS 4

/* The turn: the number of the request it is about, and in the lowest bits what its holder does. */
enum { FREE, RECEIVING, BUSY, KEPT };
#define STATE 3
#define NEXT 4

static uint64_t turn = FREE;

/* The value that the turn has while this thread has it; 0 in all threads but those of the loop. */
static __thread uint64_t mine;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_is_free = PTHREAD_COND_INITIALIZER;
static pthread_cond_t overseer_is_needed = PTHREAD_COND_INITIALIZER;
static int waiting;
static int overseer_sleeps;
static int ended;

static struct fuse_session *session;
static int device = -1;
static int stop_event = -1;
static int handed_over_event = -1;

struct handed_over {
	struct handed_over *next;
	void *mem;
	size_t size;
};

static struct handed_over *first;
static struct handed_over **last = &first;

/* ---- the turn ---------------------------------------------------------------------------------------- */

static int change_turn(uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(&turn, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static int is_ended(void)
{
	return __atomic_load_n(&ended, __ATOMIC_SEQ_CST);
}

static void give_away(uint64_t value)
{
	if (!change_turn(value, (value & ~(uint64_t)STATE) | FREE))
		return;
	pthread_mutex_lock(&lock);
	pthread_cond_signal(&turn_is_free);
	pthread_mutex_unlock(&lock);
}

void fusecopy_make_way(void)
{
	give_away(mine | BUSY);
}

int fusecopy_keep_turn(void)
{
	return mine != 0 && change_turn(mine | BUSY, mine | KEPT);
}

int fusecopy_in_loop(void)
{
	return mine != 0;
}

/* Waits for the turn; false when there will be none, or when there are spare threads enough. */
static int take_turn(void)
{
	uint64_t value = 0;
	int taken = 0, alone;

	pthread_mutex_lock(&lock);
	if (waiting >= SPARE_THREADS) {
		pthread_mutex_unlock(&lock);
		return 0;
	}
	waiting++;
	while (!is_ended() && !taken) {
		value = __atomic_load_n(&turn, __ATOMIC_SEQ_CST);
		taken = (value & STATE) == FREE && change_turn(value, value | RECEIVING);
		if (!taken)
			pthread_cond_wait(&turn_is_free, &lock);
	}
	alone = --waiting == 0;
	pthread_mutex_unlock(&lock);
	mine = value & ~(uint64_t)STATE;
	if (taken && alone)
		on_crowded();
	return taken;
}

/* A request was received: number it, and have the overseer watch. */
static void begin_request(void)
{
	mine += NEXT;
	__atomic_store_n(&turn, mine | BUSY, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&overseer_sleeps, __ATOMIC_SEQ_CST)) {
		pthread_mutex_lock(&lock);
		__atomic_store_n(&overseer_sleeps, 0, __ATOMIC_SEQ_CST);
		pthread_cond_signal(&overseer_is_needed);
		pthread_mutex_unlock(&lock);
	}
}

/* Whether this thread still has the turn, and goes on receiving. */
static int end_request(void)
{
	return change_turn(mine | BUSY, mine | RECEIVING) || change_turn(mine | KEPT, mine | RECEIVING);
}

static void sleep_until_needed(uint64_t seen)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&overseer_sleeps, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != seen)
		__atomic_store_n(&overseer_sleeps, 0, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&overseer_sleeps, __ATOMIC_SEQ_CST) && !is_ended())
		pthread_cond_wait(&overseer_is_needed, &lock);
	pthread_mutex_unlock(&lock);
}

void fusecopy_oversee(void)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };
	uint64_t seen, before = 0;
	int same = 0;

	while (!is_ended()) {
		nanosleep(&tick, NULL);
		seen = __atomic_load_n(&turn, __ATOMIC_SEQ_CST);
		same = seen == before ? same + 1 : 0;
		if (same >= 1 && (seen & STATE) == BUSY)
			give_away(seen);
		if (same >= KEPT_TICKS && (seen & STATE) == KEPT)
			give_away(seen);
		if (same >= TICKS_BEFORE_SLEEP && (seen & STATE) == RECEIVING)
			sleep_until_needed(seen);
		before = seen;
	}
}

/* ---- receiving --------------------------------------------------------------------------------------- */

static void end_loop(void)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&lock);
	__atomic_store_n(&ended, 1, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&turn_is_free);
	pthread_cond_broadcast(&overseer_is_needed);
	pthread_mutex_unlock(&lock);
	(void)!write(stop_event, &one, sizeof(one));
	(void)!write(handed_over_event, &one, sizeof(one));
}

/* The next request: its size, or 0 when there will be none. A request that made the device readable is gone again
 * if its caller was killed meanwhile, so nothing may block in the read itself. */
static int receive(struct fuse_buf *buf)
{
	struct pollfd fds[] = { { .fd = device, .events = POLLIN }, { .fd = stop_event, .events = POLLIN } };
	int size;

	while (!is_ended()) {
		size = fusecopy_real_receive_buf(session, buf);
		if (size != -EAGAIN && size != -EINTR)
			return size > 0 ? size : 0;
		poll(fds, 2, -1);
	}
	return 0;
}

/* Gives the request, and the memory it is in, to pyfuse3's loop. */
static void hand_over(struct fuse_buf *buf, int size)
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
static int is_ours(const struct fuse_buf *buf)
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

void fusecopy_serve(void)
{
	struct fuse_buf buf = { .mem = NULL };
	int size;

	while (take_turn()) {
		do {
			size = receive(&buf);
			if (size == 0) {
				end_loop();
				break;
			}
			begin_request();
			if (is_ours(&buf))
				fusecopy_process(session, &buf);
			else
				hand_over(&buf, size);
		} while (end_request());
	}
	mine = 0;
	free(buf.mem);
}

int fusecopy_begin_loop(struct fuse_session *se, int fd)
{
	session = se;
	device = fd;
	stop_event = eventfd(0, EFD_CLOEXEC);
	handed_over_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	return handed_over_event;
}

void fusecopy_stop(void)
{
	end_loop();
}
