/* Requests: their replies, and their interruption. */

#include "request.h"

#include "fuse.h"

#include <pthread.h>
#include <sys/uio.h>
#include <time.h>

/* So many interrupts are remembered whose requests are not to be found: one thread may have received a request and
 * not yet begun it while another receives its interrupt. */
#define EARLY 16

static struct fusecopy_connection connection = { .is_native = 1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fusecopy_request *under_way;
static uint64_t early[EARLY];
static unsigned int next_early;

struct fusecopy_connection *fusecopy_get_connection(void)
{
	return &connection;
}

void fusecopy_count(uint32_t opcode)
{
	if (opcode < FUSECOPY_OPCODES)
		__atomic_fetch_add(&connection.requests[opcode], 1, __ATOMIC_RELAXED);
}

void fusecopy_count_latency(uint32_t opcode, int is_native, int64_t ns)
{
	struct fusecopy_latencies *latencies;
	int64_t bound = FUSECOPY_LEAST_LATENCY_NS;
	int at = 0;

	if (opcode >= FUSECOPY_OPCODES)
		return;
	for (; at < FUSECOPY_LATENCIES - 1 && ns > bound; at++)
		bound *= 4;
	latencies = &connection.latencies[opcode][is_native];
	__atomic_fetch_add(&latencies->counts[at], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&latencies->total_ns, ns, __ATOMIC_RELAXED);
}

int64_t fusecopy_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* ---- replies ------------------------------------------------------------------------------------------ */

static int send(struct fusecopy_request *request, int error, struct iovec *parts, int count)
{
	struct fuse_out_header out = { .len = sizeof(out), .error = -error, .unique = request->header->unique };

	parts[0] = (struct iovec){ .iov_base = &out, .iov_len = sizeof(out) };
	for (int n = 1; n < count; n++)
		out.len += parts[n].iov_len;
	return request->transport->reply(request, parts, count);
}

int fusecopy_reply_error(struct fusecopy_request *request, int error)
{
	struct iovec parts[1];

	return send(request, error, parts, 1);
}

int fusecopy_reply_data(struct fusecopy_request *request, const void *data, size_t size)
{
	struct iovec parts[2] = { [1] = { .iov_base = (void *)(uintptr_t)data, .iov_len = size } };

	return send(request, 0, parts, 2);
}

int fusecopy_reply_parts(struct fusecopy_request *request, struct iovec *parts, int count)
{
	return send(request, 0, parts, count);
}

/* ---- interruption ------------------------------------------------------------------------------------- */

void fusecopy_begin_interruptible(struct fusecopy_request *request)
{
	pthread_mutex_lock(&lock);
	for (int n = 0; n < EARLY; n++)
		request->interrupted |= early[n] == request->header->unique;
	request->next = under_way;
	under_way = request;
	pthread_mutex_unlock(&lock);
}

void fusecopy_end_interruptible(struct fusecopy_request *request)
{
	struct fusecopy_request **link = &under_way;

	pthread_mutex_lock(&lock);
	while (*link != request)
		link = &(*link)->next;
	*link = request->next;
	pthread_mutex_unlock(&lock);
}

void fusecopy_interrupt(uint64_t unique)
{
	struct fusecopy_request *request;

	pthread_mutex_lock(&lock);
	for (request = under_way; request; request = request->next)
		if (request->header->unique == unique)
			break;
	if (request)
		__atomic_store_n(&request->interrupted, 1, __ATOMIC_RELAXED);
	else
		early[next_early++ % EARLY] = unique;
	pthread_mutex_unlock(&lock);
}
