/*
 * Requests by FUSE over io_uring (fs/fuse/dev_uring.c, Linux 6.14): one system call hands in an answer and fetches
 * the next request, on the processor that asked, so nobody is woken across processors.
 *
 * The kernel has one queue for each possible processor, and gives a request to an entry of its caller's queue and to
 * no other. Each entry here has a ring and a thread of its own, bound to that processor, so a free entry always has
 * a thread that waits for it, and a slow request holds up none but itself. The kernel takes the entry that became
 * free last. A queue begins with one; when none has been free for a millisecond, or a request says that it is going to
 * wait, the watch has more made, and no sooner: requests that wait in the kernel cost less than threads. They are not
 * taken back: the kernel has no command for it, and a thread that ends takes its entry with it.
 *
 * An entry that is registered is given the next request that comes, but none that waits already: those are fetched
 * where an answer is handed in (fuse_uring_do_register and fuse_uring_commit_fetch, Linux 6.14 to 6.18). So for each
 * entry made later the mount is asked something from its processor, which its answer follows: the nudge.
 *
 * INIT, FORGET and INTERRUPT still come by /dev/fuse (loop.c).
 */

#include "uring.h"

#include "fuse.h"
#include "python.h"
#include "request.h"
#include "ring.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/io_uring.h>

/* ---- the kernel's words, in no header before Linux 6.14 ------------------------------------------------ */

enum { REGISTER = 1, COMMIT_AND_FETCH = 2 };

struct headers {
	char in_out[128]; /* struct fuse_in_header, then struct fuse_out_header */
	char operation[128];
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_size;
	uint32_t padding;
	uint64_t reserved;
};

/* At byte 48 of a command. */
struct command {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t queue;
	uint8_t padding[6];
};

/* ---- entries ------------------------------------------------------------------------------------------- */

/* Exactly what libfuse gives an entry; no other size was ever tried with this kernel code. */
#define PAGE 4096
#define PAYLOAD (1 << 20)

/* How often the watch looks while no entry is free, after how many looks that found one it sleeps, and how long it
 * lets be what could not be had. */
#define TICK_NS 1000000
#define TICKS_BEFORE_SLEEP 50
#define AGAIN_NS 1000000000

/* What a completion is about. */
enum { REQUEST, STOP };

/* A request, and later its answer: headers, on a page of their own, and payload. */
struct entry {
	struct entry *next;
	unsigned queue;
	struct fusecopy_ring ring;
	struct headers *headers;
	char *payload;
	struct iovec parts[2];
	pid_t nudger; /* the thread that asks the mount something for this entry's sake, while it does */
};

struct queue {
	int free;	 /* entries that wait for a request; one thread may count itself early */
	int is_stuck;	 /* a request said that it is going to wait */
	uint64_t served; /* requests so far */
	uint64_t seen;	 /* of them, when the watch last looked and no entry was free */
	unsigned entries;
};

#define NOT_SEEN UINT64_MAX

enum { UNUSED, PREPARING, BEGUN, ENDED };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_changed = PTHREAD_COND_INITIALIZER;
static pthread_cond_t watch_is_needed = PTHREAD_COND_INITIALIZER;

static int state = UNUSED;
static int agreed;
static int failure; /* errno of what could not be had */
static unsigned queue_count, entry_count, entry_limit, missing;
static int64_t failed_ns;
static struct queue *queues;
static struct entry *entries; /* never shorter, so it is read without the lock */
static int watch_sleeps;

static const char *mountpoint;
static int device = -1;
static int stop_event = -1;

static __thread struct entry *current;

/* Python's lock goes from thread to thread at every system call that its holder makes, if others wait for it: with 20
 * that do, a request costs twice as much. So one thread at a time has the turn with Python, until it is done or waits
 * for longer than a tick. Odd while somebody has it. */
static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_is_free = PTHREAD_COND_INITIALIZER;
static uint64_t turn, turn_seen;
static int waiting_for_turn;
static __thread uint64_t mine;

int fusecopy_on_ring(void)
{
	return current != NULL;
}

static int state_now(void)
{
	return __atomic_load_n(&state, __ATOMIC_SEQ_CST);
}

static void close_entry(struct entry *entry)
{
	fusecopy_ring_close(&entry->ring);
	if (entry->headers)
		munmap(entry->headers, PAGE + PAYLOAD);
	entry->headers = NULL;
}

static int open_entry(struct entry *entry)
{
	void *memory = mmap(NULL, PAGE + PAYLOAD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -ENOMEM;
	entry->headers = memory;
	entry->payload = (char *)memory + PAGE;
	entry->parts[0] = (struct iovec){ .iov_base = entry->headers, .iov_len = PAGE };
	entry->parts[1] = (struct iovec){ .iov_base = entry->payload, .iov_len = PAYLOAD };
	return fusecopy_ring_open(&entry->ring);
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

int fusecopy_uring_prepare(const char *mounted_on, unsigned processors, unsigned entries_each, unsigned more)
{
	mountpoint = strdup(mounted_on);
	queues = calloc(processors, sizeof(*queues));
	stop_event = eventfd(0, EFD_CLOEXEC);
	if (!mountpoint || !queues || stop_event < 0)
		return -ENOMEM;
	queue_count = processors;
	entry_count = missing = processors * entries_each;
	entry_limit = entry_count + more;
	state = PREPARING;
	return 0;
}

int fusecopy_uring_await_ready(void)
{
	int error;

	pthread_mutex_lock(&lock);
	while (missing > 0 && !failure)
		pthread_cond_wait(&has_changed, &lock);
	error = failure;
	pthread_mutex_unlock(&lock);
	return -error;
}

static void change_state(int to)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&lock);
	__atomic_store_n(&state, to, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&has_changed);
	pthread_cond_broadcast(&watch_is_needed);
	pthread_mutex_unlock(&lock);
	if (to == ENDED && stop_event >= 0)
		(void)!write(stop_event, &one, sizeof(one));
}

void fusecopy_uring_fail(int error)
{
	pthread_mutex_lock(&lock);
	failure = error;
	failed_ns = fusecopy_now_ns();
	entry_count--;
	pthread_cond_broadcast(&has_changed);
	pthread_mutex_unlock(&lock);
}

/* From the answer with the flag on, the kernel lets each request wait until every queue has an entry (Linux 6.14 to
 * 6.18), so all must be there by now. libfuse from 3.18 on may have agreed by itself, for rings of its own. */
void fusecopy_uring_agree(uint32_t offered, struct fuse_init_out *init)
{
	if (state_now() != PREPARING || fusecopy_uring_await_ready() != 0)
		return;
	if (!(offered & FUSECOPY_FLAGS2_OVER_IO_URING) || init->flags2 & FUSECOPY_FLAGS2_OVER_IO_URING)
		return;
	if (init->max_write > PAYLOAD || (long)init->max_pages * sysconf(_SC_PAGESIZE) > PAYLOAD)
		return;
	init->flags |= FUSE_INIT_EXT;
	init->flags2 |= FUSECOPY_FLAGS2_OVER_IO_URING;
	agreed = 1;
}

void fusecopy_uring_begin(int fd)
{
	device = fd;
	change_state(agreed ? BEGUN : ENDED);
}

void fusecopy_uring_end(void)
{
	change_state(ENDED);
}

void fusecopy_uring_look(struct fusecopy_rings *rings)
{
	struct entry *entry = __atomic_load_n(&entries, __ATOMIC_SEQ_CST);

	*rings = (struct fusecopy_rings){ .agreed = agreed, .failure = failure, .queues = queue_count };
	rings->entry_bytes = PAGE + PAYLOAD;
	for (; entry; entry = entry->next)
		rings->entries++;
	for (unsigned i = 0; i < queue_count; i++)
		rings->requests += __atomic_load_n(&queues[i].served, __ATOMIC_RELAXED);
}

/* ---- answers ------------------------------------------------------------------------------------------- */

/* Lays an answer out for the kernel. What a request asks for never exceeds a payload; if an answer does, it is a
 * fault of ours and the caller is told EIO. */
static void fill(struct entry *entry, const struct iovec *iov, int count)
{
	struct fuse_out_header *out = (struct fuse_out_header *)entry->headers->in_out;
	size_t size = 0;

	memcpy(out, iov[0].iov_base, sizeof(*out));
	for (int i = 1; i < count; i++) {
		if (iov[i].iov_len > PAYLOAD - size) {
			out->error = -EIO;
			size = 0;
			break;
		}
		if (iov[i].iov_base != entry->payload + size)
			memmove(entry->payload + size, iov[i].iov_base, iov[i].iov_len);
		size += iov[i].iov_len;
	}
	out->len = sizeof(*out) + size;
	entry->headers->payload_size = size;
}

static int reply(struct fusecopy_request *request, struct iovec *parts, int count)
{
	(void)request;
	fill(current, parts, count);
	return 0;
}

static const struct fusecopy_transport transport = { .reply = reply };

/* ---- the watch ----------------------------------------------------------------------------------------- */

static void wake_watch(void)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&watch_sleeps, 0, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&watch_is_needed);
	pthread_mutex_unlock(&lock);
}

static void give_away(uint64_t whose)
{
	pthread_mutex_lock(&turn_lock);
	if (turn == whose) {
		__atomic_store_n(&turn, whose + 1, __ATOMIC_SEQ_CST);
		pthread_cond_signal(&turn_is_free);
	}
	pthread_mutex_unlock(&turn_lock);
}

void fusecopy_uring_begin_python(void)
{
	if (!current)
		return;
	pthread_mutex_lock(&turn_lock);
	while (turn & 1 && state_now() == BEGUN) {
		__atomic_add_fetch(&waiting_for_turn, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&watch_sleeps, __ATOMIC_SEQ_CST))
			wake_watch();
		pthread_cond_wait(&turn_is_free, &turn_lock);
		__atomic_sub_fetch(&waiting_for_turn, 1, __ATOMIC_SEQ_CST);
	}
	mine = turn | 1;
	__atomic_store_n(&turn, mine, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&turn_lock);
}

void fusecopy_uring_end_python(void)
{
	if (current)
		give_away(mine);
}

/* Whether somebody waits for the turn; if so, it is taken from who has had it since the last tick. */
static int look_after_turn(void)
{
	uint64_t now = __atomic_load_n(&turn, __ATOMIC_SEQ_CST);
	int is_wanted = __atomic_load_n(&waiting_for_turn, __ATOMIC_SEQ_CST) > 0;

	if (is_wanted && now & 1 && now == turn_seen)
		give_away(now);
	turn_seen = now;
	return is_wanted;
}

void fusecopy_uring_make_way(void)
{
	struct queue *queue = &queues[current->queue];

	give_away(mine);
	if (__atomic_load_n(&queue->free, __ATOMIC_SEQ_CST) > 0)
		return;
	__atomic_store_n(&queue->is_stuck, 1, __ATOMIC_SEQ_CST);
	wake_watch();
}

static int may_grow(void)
{
	int may;

	pthread_mutex_lock(&lock);
	may = entry_count < entry_limit && (!failure || fusecopy_now_ns() > failed_ns + AGAIN_NS);
	entry_count += may;
	pthread_mutex_unlock(&lock);
	return may;
}

/* Whether no entry is free; and if it was so before and nothing has come since, more of them. */
static int look_after(unsigned number)
{
	struct queue *queue = &queues[number];
	uint64_t served = __atomic_load_n(&queue->served, __ATOMIC_SEQ_CST);
	int is_stuck = __atomic_exchange_n(&queue->is_stuck, 0, __ATOMIC_SEQ_CST);

	if (__atomic_load_n(&queue->free, __ATOMIC_SEQ_CST) > 0) {
		queue->seen = NOT_SEEN;
		return 0;
	}
	if (is_stuck || served == queue->seen)
		for (unsigned more = (queue->entries + 1) / 2; more > 0 && may_grow(); more--)
			on_short_handed(number);
	queue->seen = served;
	return 1;
}

static int is_any_short(void)
{
	if (__atomic_load_n(&waiting_for_turn, __ATOMIC_SEQ_CST) > 0)
		return 1;
	for (unsigned i = 0; i < queue_count; i++)
		if (__atomic_load_n(&queues[i].free, __ATOMIC_SEQ_CST) <= 0)
			return 1;
	return 0;
}

static void sleep_until_needed(void)
{
	pthread_mutex_lock(&lock);
	__atomic_store_n(&watch_sleeps, 1, __ATOMIC_SEQ_CST);
	if (is_any_short())
		__atomic_store_n(&watch_sleeps, 0, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&watch_sleeps, __ATOMIC_SEQ_CST) && state == BEGUN)
		pthread_cond_wait(&watch_is_needed, &lock);
	pthread_mutex_unlock(&lock);
}

static int await_begin(void)
{
	int has_begun;

	pthread_mutex_lock(&lock);
	while (state == PREPARING)
		pthread_cond_wait(&has_changed, &lock);
	has_begun = state == BEGUN;
	pthread_mutex_unlock(&lock);
	return has_begun;
}

void fusecopy_uring_watch(void)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };
	int quiet = 0;

	if (!await_begin())
		return;
	while (state_now() == BEGUN) {
		quiet = look_after_turn() ? 0 : quiet + 1;
		for (unsigned i = 0; i < queue_count; i++)
			if (look_after(i))
				quiet = 0;
		if (quiet >= TICKS_BEFORE_SLEEP)
			sleep_until_needed();
		else
			nanosleep(&tick, NULL);
	}
}

/* ---- requests ------------------------------------------------------------------------------------------ */

/* Whatever the backing waits for, these wait for nothing. */
static int is_nudge(const struct fuse_in_header *header)
{
	const struct entry *entry = __atomic_load_n(&entries, __ATOMIC_SEQ_CST);

	if (header->opcode != FUSE_STATFS || header->pid == 0)
		return 0;
	while (entry && (uint32_t)__atomic_load_n(&entry->nudger, __ATOMIC_SEQ_CST) != header->pid)
		entry = entry->next;
	return entry != NULL;
}

/* The answer is laid over the request's header and its payload, so the header that it is known by is a copy. */
static void serve_request(struct entry *entry, void (*serve)(struct fusecopy_request *))
{
	struct fuse_in_header header;
	struct fusecopy_request request = {
		.header = &header,
		.arguments = entry->headers->operation,
		.payload = entry->payload,
		.payload_size = entry->headers->payload_size,
		.room = entry->payload,
		.room_size = PAYLOAD,
		.transport = &transport,
	};

	memcpy(&header, entry->headers->in_out, sizeof(header));
	if (!is_nudge(&header)) {
		serve(&request);
		return;
	}
	fusecopy_count(header.opcode);
	fusecopy_reply_error(&request, EAGAIN);
}

/* ---- one entry's thread -------------------------------------------------------------------------------- */

static void bind_to(unsigned processor)
{
	cpu_set_t *set = CPU_ALLOC(processor + 1);

	if (!set)
		return;
	CPU_ZERO_S(CPU_ALLOC_SIZE(processor + 1), set);
	CPU_SET_S(processor, CPU_ALLOC_SIZE(processor + 1), set);
	/* Where that processor is offline or forbidden to us, any other serves its queue, only slower. */
	sched_setaffinity(0, CPU_ALLOC_SIZE(processor + 1), set);
	CPU_FREE(set);
}

/* Joins the others; whether the kernel agreed, which it says in its time. */
static int check_in(struct entry *entry)
{
	pthread_mutex_lock(&lock);
	entry->next = entries;
	__atomic_store_n(&entries, entry, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&queues[entry->queue].entries, 1, __ATOMIC_SEQ_CST);
	if (missing > 0)
		missing--;
	pthread_cond_broadcast(&has_changed);
	pthread_mutex_unlock(&lock);
	return await_begin();
}

static void command(struct entry *entry, int operation)
{
	struct io_uring_sqe *sqe = fusecopy_ring_command(&entry->ring);
	struct command *what = (struct command *)sqe->cmd;

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = device;
	sqe->cmd_op = operation;
	sqe->user_data = REQUEST;
	if (operation == REGISTER) {
		sqe->addr = (uintptr_t)entry->parts;
		sqe->len = 2;
	}
	what->queue = entry->queue;
	what->commit_id = operation == REGISTER ? 0 : entry->headers->commit_id;
}

static void watch_for_stop(struct entry *entry)
{
	struct io_uring_sqe *sqe = fusecopy_ring_command(&entry->ring);

	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = stop_event;
	sqe->poll32_events = POLLIN;
	sqe->user_data = STOP;
}

/* Waits for a request; false at the end. ENOTCONN is the kernel's word for it. */
static int receive(struct entry *entry, int operation)
{
	struct io_uring_cqe completion;

	for (;;) {
		if (fusecopy_ring_wait(&entry->ring, &completion) < 0 || completion.user_data == STOP)
			return 0;
		if (completion.res != -EINTR && completion.res != -EAGAIN)
			return completion.res == 0;
		command(entry, operation);
	}
}

/* STATFS is always asked of the server (fs/fuse/inode.c), and a path keeps the mount busy only while it is asked. */
static void *nudge(void *arg)
{
	struct entry *entry = arg;
	struct statvfs ignored;

	bind_to(entry->queue);
	__atomic_store_n(&entry->nudger, gettid(), __ATOMIC_SEQ_CST);
	statvfs(mountpoint, &ignored);
	__atomic_store_n(&entry->nudger, 0, __ATOMIC_SEQ_CST);
	return NULL;
}

static void begin_nudge(struct entry *entry)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, nudge, entry) == 0)
		pthread_detach(thread);
}

static void begin_request(struct queue *queue)
{
	__atomic_add_fetch(&queue->served, 1, __ATOMIC_SEQ_CST);
	if (__atomic_sub_fetch(&queue->free, 1, __ATOMIC_SEQ_CST) == 0 &&
	    __atomic_load_n(&watch_sleeps, __ATOMIC_SEQ_CST))
		wake_watch();
}

static void serve_entry(struct entry *entry, int is_late, void (*serve)(struct fusecopy_request *))
{
	struct queue *queue = &queues[entry->queue];
	int operation = REGISTER;

	watch_for_stop(entry);
	command(entry, operation);
	__atomic_add_fetch(&queue->free, 1, __ATOMIC_SEQ_CST);
	if (is_late && fusecopy_ring_submit(&entry->ring) == 0)
		begin_nudge(entry);
	while (receive(entry, operation)) {
		begin_request(queue);
		serve_request(entry, serve);
		operation = COMMIT_AND_FETCH;
		command(entry, operation);
		__atomic_add_fetch(&queue->free, 1, __ATOMIC_SEQ_CST);
	}
}

/* An entry of that queue, ready to register; NULL, and the reason told, where it cannot be had. */
static struct entry *new_entry(unsigned queue)
{
	struct entry *entry = calloc(1, sizeof(*entry));
	int error;

	if (!entry) {
		fusecopy_uring_fail(ENOMEM);
		return NULL;
	}
	entry->queue = queue;
	entry->ring.fd = -1;
	error = open_entry(entry);
	if (error == 0)
		return entry;
	fusecopy_uring_fail(-error);
	close_entry(entry);
	free(entry);
	return NULL;
}

void fusecopy_uring_receive_and_serve(unsigned queue, void (*serve)(struct fusecopy_request *))
{
	int is_late = state_now() == BEGUN;
	struct entry *entry = new_entry(queue);

	if (!entry)
		return;
	prctl(PR_SET_NAME, "ring");
	bind_to(queue);
	if (check_in(entry)) {
		current = entry;
		serve_entry(entry, is_late, serve);
		current = NULL;
	}
	/* Its place in the list stays: somebody may be reading it. */
	close_entry(entry);
}
