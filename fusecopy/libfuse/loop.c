/*
 * The request loop: threads that receive requests and answer them where they were received.
 *
 * One thread at a time has the turn: it receives a request, has it answered, and receives the next, without any
 * hand-over between threads, because waking another one costs more than most answers. A request that is not
 * answered within about a millisecond makes way: the watchdog gives the turn to a spare thread, so that whoever
 * waits for a disk holds up nobody else. What is known to wait makes way by itself (fusecopy_make_way). There is a
 * limit to the number of threads, and the last one waits for nothing: it puts off what may (backlog.c).
 *
 * Requests that begin and end the session go to pyfuse3's loop on trio's thread (handover.c).
 */

#include "loop.h"

#include "backlog.h"
#include "fuse.h"
#include "handover.h"
#include "python.h"
#include "request.h"
#include "session.h"
#include "uring.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS 1000000

/* After so many ticks without a request the watchdog sleeps until the next one. */
#define TICKS_BEFORE_SLEEP 50

/* For so many ticks a turn may be kept: not for ever, because the disk may be slow. */
#define KEPT_TICKS 20

/* A thread that sleeps has to be woken, and to wake an idle processor, above all a virtual one, takes longer than
 * most answers. So while most requests follow their predecessors' answers this soon, the next is looked for as long
 * before the thread sleeps. */
#define PATIENCE_NS 50000

/* Each request that comes soon counts one up to the most, each that does not takes so many back; with enough it is
 * worth while to look. */
#define SOON_MOST 16
#define SOON_LOST 4
#define SOON_ENOUGH 8

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
static pthread_cond_t watchdog_is_needed = PTHREAD_COND_INITIALIZER;
static int waiting;
static int threads;
static int coming = 1; /* threads that were started and are not there yet; session.py starts the first */
static int watchdog_sleeps;
static int ended;

/* For who has the turn. Alone on a processor, looking would only keep the program from it that is to ask. */
static int came_soon;
static int has_processors;

static int device = -1;
static int stop_event = -1;

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
	if (fusecopy_on_ring())
		fusecopy_uring_make_way();
	else
		give_away(mine | BUSY);
}

int fusecopy_keep_turn(void)
{
	return mine != 0 && change_turn(mine | BUSY, mine | KEPT);
}

/* Under the lock. */
static int take_turn_if_free(void)
{
	uint64_t value = __atomic_load_n(&turn, __ATOMIC_SEQ_CST);

	if (is_ended() || (value & STATE) != FREE || !change_turn(value, value | RECEIVING))
		return 0;
	mine = value & ~(uint64_t)STATE;
	return 1;
}

/* Under the lock. Who waits for the turn leaves with it or not at all: others count on that (may_wait). */
static int wait_for_turn(void)
{
	int taken = 0;

	if (waiting >= SPARE_THREADS)
		return 0;
	waiting++;
	while (!is_ended() && !(taken = take_turn_if_free()))
		pthread_cond_wait(&turn_is_free, &lock);
	waiting--;
	return taken;
}

/* Whoever leaves the spare threads sees to it that there is another, if there can be. */
static void have_a_spare(void)
{
	int lacks;

	pthread_mutex_lock(&lock);
	lacks = !is_ended() && waiting + coming == 0;
	pthread_mutex_unlock(&lock);
	if (!lacks || !on_crowded())
		return;
	pthread_mutex_lock(&lock);
	coming++;
	pthread_mutex_unlock(&lock);
}

/* A request was received: number it, and have the watchdog watch. */
static void begin_request(void)
{
	mine += NEXT;
	__atomic_store_n(&turn, mine | BUSY, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&watchdog_sleeps, __ATOMIC_SEQ_CST)) {
		pthread_mutex_lock(&lock);
		__atomic_store_n(&watchdog_sleeps, 0, __ATOMIC_SEQ_CST);
		pthread_cond_signal(&watchdog_is_needed);
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
	__atomic_store_n(&watchdog_sleeps, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != seen)
		__atomic_store_n(&watchdog_sleeps, 0, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&watchdog_sleeps, __ATOMIC_SEQ_CST) && !is_ended())
		pthread_cond_wait(&watchdog_is_needed, &lock);
	pthread_mutex_unlock(&lock);
}

void fusecopy_watchdog(void)
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

/* ---- what may wait ------------------------------------------------------------------------------------ */

/* Under the lock: whether this thread may wait, because another is ready to take the turn, or because there is none
 * that would come back for what is put off. */
static int may_wait(void)
{
	return waiting + coming > 0 || threads - waiting <= 1;
}

/* Who serves a ring holds up nobody. */
int fusecopy_begin_waiting(int kind)
{
	int begun;

	if (fusecopy_on_ring())
		return 1;
	pthread_mutex_lock(&lock);
	begun = may_wait() && fusecopy_begin_kind(kind);
	pthread_mutex_unlock(&lock);
	return begun;
}

void fusecopy_end_waiting(int kind)
{
	if (fusecopy_on_ring())
		return;
	pthread_mutex_lock(&lock);
	fusecopy_end_kind(kind);
	pthread_mutex_unlock(&lock);
}

static void run(struct fusecopy_put_off *item)
{
	int kind = item->kind;

	item->run(item);
	fusecopy_end_waiting(kind);
}

void fusecopy_put_off(struct fusecopy_put_off *item)
{
	int begun;

	pthread_mutex_lock(&lock);
	begun = may_wait() && fusecopy_begin_kind(item->kind);
	if (!begun)
		fusecopy_keep_for_later(item);
	pthread_mutex_unlock(&lock);
	if (begun)
		run(item);
}

/* ---- receiving --------------------------------------------------------------------------------------- */

static void end_loop(void)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&lock);
	__atomic_store_n(&ended, 1, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&turn_is_free);
	pthread_cond_broadcast(&watchdog_is_needed);
	pthread_mutex_unlock(&lock);
	(void)!write(stop_event, &one, sizeof(one));
	fusecopy_uring_end();
	fusecopy_end_handing_over();
}

static void count_soon(int is_soon)
{
	if (!is_soon)
		came_soon = came_soon > SOON_LOST ? came_soon - SOON_LOST : 0;
	else if (came_soon < SOON_MOST)
		came_soon++;
}

/* The next request: its size, or 0 when there will be none. A request that made the device readable is gone again
 * if its caller was killed meanwhile, so nothing may block in the read itself. */
static int receive(struct fuse_buf *buf)
{
	struct pollfd fds[] = { { .fd = device, .events = POLLIN }, { .fd = stop_event, .events = POLLIN } };
	int is_patient = has_processors && came_soon >= SOON_ENOUGH;
	int64_t patience_ends = fusecopy_now_ns() + PATIENCE_NS;
	int size;

	while (!is_ended()) {
		size = fusecopy_receive(buf);
		if (size != -EAGAIN && size != -EINTR) {
			count_soon(fusecopy_now_ns() < patience_ends);
			return size > 0 ? size : 0;
		}
		if (!is_patient || fusecopy_now_ns() >= patience_ends)
			poll(fds, 2, -1);
	}
	return 0;
}

/* A request is aborted with its connection, or was interrupted before it was seen: then nobody wants the reply. */
static int reply(struct fusecopy_request *request, struct iovec *parts, int count)
{
	(void)request;
	return writev(device, parts, count) < 0 ? -errno : 0;
}

static struct fusecopy_request received(const struct fuse_in_header *header)
{
	static const struct fusecopy_transport transport = { .reply = reply };

	return (struct fusecopy_request){ .header = header, .arguments = header + 1, .transport = &transport };
}

/* A request as it was received. */
struct request_put_off {
	struct fusecopy_put_off put_off;
	void (*serve)(struct fusecopy_request *request);
	char bytes[];
};

static void run_request(struct fusecopy_put_off *item)
{
	struct request_put_off *kept = (struct request_put_off *)item;
	struct fusecopy_request request = received((const struct fuse_in_header *)kept->bytes);

	kept->serve(&request);
	free(kept);
}

static void put_off_request(struct fusecopy_request *request, int kind, void (*serve)(struct fusecopy_request *))
{
	const size_t size = request->header->len;
	struct request_put_off *kept = malloc(sizeof(*kept) + size);

	if (!kept) {
		serve(request);
		return;
	}
	kept->put_off = (struct fusecopy_put_off){ .kind = kind, .run = run_request };
	kept->serve = serve;
	memcpy(kept->bytes, request->header, size);
	fusecopy_put_off((struct fusecopy_put_off *)kept);
}

static void serve_request(const struct fusecopy_server *server, const struct fuse_in_header *header)
{
	struct fusecopy_request request = received(header);
	int kind = server->kind(&request);

	if (kind == FUSECOPY_AT_ONCE) {
		server->serve(&request);
	} else if (fusecopy_begin_waiting(kind)) {
		server->serve(&request);
		fusecopy_end_waiting(kind);
	} else {
		put_off_request(&request, kind, server->serve);
	}
}

static void serve_turn(struct fuse_buf *buf, const struct fusecopy_server *server)
{
	const struct fuse_in_header *header;
	int size;

	do {
		size = receive(buf);
		if (size == 0) {
			end_loop();
			return;
		}
		begin_request();
		header = buf->mem;
		if (fusecopy_is_handed_over(header->opcode))
			fusecopy_hand_over(buf, size);
		else
			serve_request(server, header);
	} while (end_request());
}

/* For a thread that has nothing to do: the turn, or what was put off. False where it is to end. Somebody has the turn,
 * or will take it, before anything is done that was put off. */
static int find_work(int is_new, struct fusecopy_put_off **item)
{
	int taken;

	pthread_mutex_lock(&lock);
	taken = take_turn_if_free();
	*item = taken || is_new || is_ended() ? NULL : fusecopy_begin_put_off();
	if (!taken && !*item)
		taken = wait_for_turn();
	pthread_mutex_unlock(&lock);
	if (taken || *item)
		have_a_spare();
	return taken || *item;
}

/* One more thread, or one less. A new one was counted on as a spare (may_wait). */
static void count_thread(int change)
{
	pthread_mutex_lock(&lock);
	threads += change;
	if (change > 0)
		coming--;
	pthread_mutex_unlock(&lock);
}

void fusecopy_receive_and_serve(const struct fusecopy_server *server)
{
	struct fuse_buf buf = { .mem = NULL };
	struct fusecopy_put_off *item;
	int is_new = 1;

	count_thread(1);
	for (; find_work(is_new, &item); is_new = 0) {
		if (item)
			run(item);
		else
			serve_turn(&buf, server);
	}
	count_thread(-1);
	free(buf.mem);
}

/* Threads come and go, and what one allocates another frees: each arena of glibc's keeps the most it ever had. */
static void share_heap(void)
{
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}

void fusecopy_begin_loop(void)
{
	cpu_set_t processors;

	has_processors = sched_getaffinity(0, sizeof(processors), &processors) == 0 && CPU_COUNT(&processors) > 1;
	device = fusecopy_device();
	stop_event = eventfd(0, EFD_CLOEXEC);
	share_heap();
}

void fusecopy_stop(void)
{
	end_loop();
}
