/*
 * Events, read and applied under one lock: else another thread would find the queue empty, and answer before what was
 * in it is known.
 */

#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <time.h>
#include <unistd.h>

#include "request.h"

/* Who reads each event by itself is woken as often, which costs more than all the rest. So the reader rests after it
 * has read, twice as long each time while there is more than an event in EVENT_NS. Requests for which it counts do
 * not wait. */
#define SHORT_REST_NS 200000
#define LONG_REST_NS 5000000
#define EVENT_NS 500000

/* Requests that follow each other closely read the events of several at a time. */
#define KEEP_UP_NS 1000000

static pthread_mutex_t reading = PTHREAD_MUTEX_INITIALIZER;
static struct fusecopy_watch watch;
static int64_t drained_ns;
static pid_t own_pid;
static int wakes = -1;
static int news_event = -1; /* something to tell of, or the end */
static int ended;

/* Counters are read while others count. */
static uint64_t count_of(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

struct fusecopy_watch *fusecopy_get_watch(void)
{
	return &watch;
}

/* ---- one event ----------------------------------------------------------------------------------------- */

/* The files it is about. For what happened to a directory itself there is no name, or "." for one. */
struct event {
	struct fusecopy_key directory;
	struct fusecopy_key file;
	const char *name;
};

static struct event parse(const struct fanotify_event_metadata *metadata)
{
	const char *at = (const char *)metadata + metadata->metadata_len;
	const char *end = (const char *)metadata + metadata->event_len;
	const struct fanotify_event_info_fid *info;
	const struct file_handle *handle;
	struct event event = { .name = NULL };

	for (; at + sizeof(*info) <= end; at += info->hdr.len) {
		info = (const struct fanotify_event_info_fid *)at;
		handle = (const struct file_handle *)info->handle;
		switch (info->hdr.info_type) {
		case FAN_EVENT_INFO_TYPE_FID:
			event.file = fusecopy_key_of(&info->fsid, handle);
			break;
		case FAN_EVENT_INFO_TYPE_DFID_NAME:
			event.name = (const char *)handle->f_handle + handle->handle_bytes;
			/* fall through */
		case FAN_EVENT_INFO_TYPE_DFID:
			event.directory = fusecopy_key_of(&info->fsid, handle);
			break;
		}
		if (info->hdr.len == 0)
			break;
	}
	if (event.name && strcmp(event.name, ".") == 0)
		event.name = NULL;
	return event;
}

static int is_none(struct fusecopy_key key)
{
	return key.low == 0 && key.high == 0;
}

static void apply_foreign(const struct fanotify_event_metadata *metadata)
{
	const uint64_t names = FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO;
	const uint64_t bytes = FAN_MODIFY | FAN_CLOSE_WRITE;
	struct event event = parse(metadata);
	int what = metadata->mask & bytes ? FUSECOPY_ATTRIBUTES | FUSECOPY_PAGES : FUSECOPY_ATTRIBUTES;
	int64_t changed_ns = metadata->mask & bytes ? fusecopy_now_ns() : 0;

	if (!is_none(event.file))
		fusecopy_suspect(event.file, what, changed_ns);
	else if (!event.name)
		fusecopy_suspect(event.directory, what, 0);
	if (metadata->mask & names && event.name)
		fusecopy_suspect_name(event.directory, event.name, event.file, (metadata->mask & names) == FAN_CREATE);
}

static void apply(const struct fanotify_event_metadata *metadata)
{
	__atomic_fetch_add(&watch.events, 1, __ATOMIC_RELAXED);
	if (metadata->mask & FAN_Q_OVERFLOW) {
		fusecopy_suspect_all();
	} else if (metadata->pid != own_pid) {
		__atomic_fetch_add(&watch.foreign, 1, __ATOMIC_RELAXED);
		apply_foreign(metadata);
	}
}

/* ---- reading ------------------------------------------------------------------------------------------- */

/* Under the lock. */
static void read_group(int group)
{
	static char buffer[256 * 1024] __attribute__((aligned(8)));
	const struct fanotify_event_metadata *metadata;
	ssize_t length;

	while ((length = read(group, buffer, sizeof(buffer))) > 0) {
		metadata = (const struct fanotify_event_metadata *)buffer;
		for (; FAN_EVENT_OK(metadata, length); metadata = FAN_EVENT_NEXT(metadata, length))
			apply(metadata);
	}
}

void fusecopy_watch_drain(void)
{
	const int *groups;
	int count;

	if (!watch.watches)
		return;
	pthread_mutex_lock(&reading);
	count = fusecopy_watch_groups(&groups);
	for (int n = 0; n < count; n++)
		read_group(groups[n]);
	__atomic_store_n(&drained_ns, fusecopy_now_ns(), __ATOMIC_RELAXED);
	pthread_mutex_unlock(&reading);
}

void fusecopy_watch_wake_by(int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	epoll_ctl(wakes, EPOLL_CTL_ADD, fd, &event);
}

void fusecopy_watch_wake(void)
{
	const uint64_t one = 1;

	(void)!write(news_event, &one, sizeof(one));
}

/* Waits until there is something; false at the end. */
static int await_events(void)
{
	struct epoll_event event;
	uint64_t news;

	if (epoll_wait(wakes, &event, 1, -1) < 0 && errno != EINTR)
		return 0;
	(void)!read(news_event, &news, sizeof(news));
	return !__atomic_load_n(&ended, __ATOMIC_SEQ_CST);
}

void fusecopy_watch_keep_up(void)
{
	if (watch.watches && fusecopy_now_ns() - __atomic_load_n(&drained_ns, __ATOMIC_RELAXED) > KEEP_UP_NS)
		fusecopy_watch_drain();
}

/* How long to rest after `events` in `ns`. */
static long next_rest(long rest, uint64_t events, int64_t ns)
{
	if (events * EVENT_NS < (uint64_t)ns)
		return SHORT_REST_NS;
	return rest * 2 < LONG_REST_NS ? rest * 2 : LONG_REST_NS;
}

int fusecopy_watch_read(void)
{
	struct timespec rest = { .tv_nsec = SHORT_REST_NS };
	uint64_t overflows = count_of(&watch.overflows), given_up = count_of(&watch.given_up);
	uint64_t blind = count_of(&watch.blind), events = count_of(&watch.events);
	int64_t now, before = fusecopy_now_ns();

	while (await_events()) {
		fusecopy_watch_drain();
		if (count_of(&watch.overflows) != overflows || count_of(&watch.given_up) != given_up ||
		    !count_of(&watch.blind) != !blind)
			return 1;
		now = fusecopy_now_ns();
		rest.tv_nsec = next_rest(rest.tv_nsec, count_of(&watch.events) - events, now - before);
		before = now;
		events = count_of(&watch.events);
		nanosleep(&rest, NULL);
	}
	return 0;
}

int fusecopy_watch_catch_up(double seconds)
{
	fusecopy_watch_drain();
	return fusecopy_await_told(seconds);
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

int fusecopy_watch_begin(double seconds, uint64_t marks)
{
	int error;

	own_pid = getpid();
	news_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	wakes = epoll_create1(EPOLL_CLOEXEC);
	fusecopy_watch_wake_by(news_event);
	error = fusecopy_marks_begin(marks);
	fusecopy_known_begin(seconds);
	fusecopy_suspects_begin();
	watch.error = -error;
	watch.watches = 1;
	return error;
}

void fusecopy_watch_end(void)
{
	__atomic_store_n(&ended, 1, __ATOMIC_SEQ_CST);
	fusecopy_watch_wake();
	fusecopy_end_suspects();
}
