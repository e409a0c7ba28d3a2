/*
 * The supervisor that only looks: it notes what a call names and lets the kernel carry it out.
 *
 * It touches /proc and no other filesystem, because the caller may be the server of one, which would wait for us as
 * we for it. All else is done by who takes what is noted, while the program goes on.
 */

#include "noting.h"
#include "calls.h"
#include "filter.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#define TO_THE_END (UINT64_MAX >> 1)
#define PAGE (4096) /* or larger: what lies in 4096 lies in one of 64 KiB, too */
#define UNMOUNT_SECONDS (2)
#define MOST_AHEAD (4096)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t told = PTHREAD_COND_INITIALIZER, unmount = PTHREAD_COND_INITIALIZER;
static struct fusecopy_noted *first, **last = &first;
static uint64_t unnoted;
static int unmounts;

static void push(struct fusecopy_noted *noted)
{
	pthread_mutex_lock(&lock);
	*last = noted;
	last = &noted->next;
	pthread_cond_signal(&told);
	pthread_mutex_unlock(&lock);
}

static struct timespec within(int milliseconds)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += milliseconds / 1000;
	until.tv_nsec += milliseconds % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	return until;
}

struct fusecopy_noted *fusecopy_next(int milliseconds)
{
	struct timespec until = within(milliseconds);
	struct fusecopy_noted *noted;

	pthread_mutex_lock(&lock);
	while (!first && pthread_cond_timedwait(&told, &lock, &until) == 0)
		;
	noted = first;
	if (noted) {
		first = noted->next;
		if (!first)
			last = &first;
	}
	pthread_mutex_unlock(&lock);
	return noted;
}

void fusecopy_forget(struct fusecopy_noted *noted)
{
	free(noted->path);
	free(noted->other);
	free(noted);
}

uint64_t fusecopy_unnoted(void)
{
	uint64_t count;

	pthread_mutex_lock(&lock);
	count = unnoted;
	pthread_mutex_unlock(&lock);
	return count;
}

static void count_unnoted(void)
{
	pthread_mutex_lock(&lock);
	unnoted++;
	pthread_mutex_unlock(&lock);
}

void fusecopy_let_unmount(void)
{
	pthread_mutex_lock(&lock);
	unmounts = 0;
	pthread_cond_broadcast(&unmount);
	pthread_mutex_unlock(&lock);
}

static void await_unmount(void)
{
	struct timespec until = within(UNMOUNT_SECONDS * 1000);

	pthread_mutex_lock(&lock);
	while (unmounts && pthread_cond_timedwait(&unmount, &lock, &until) == 0)
		;
	pthread_mutex_unlock(&lock);
}

static int open_proc(int thread, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", thread, name);
	return open(path, flags | O_CLOEXEC);
}

/* The beginning of a file in /proc, as text. */
static int read_proc(int thread, const char *name, char *text, size_t size)
{
	int fd = open_proc(thread, name, O_RDONLY);
	ssize_t count;

	if (fd < 0)
		return -1;
	count = read(fd, text, size - 1);
	close(fd);
	if (count < 0)
		return -1;
	text[count] = 0;
	return 0;
}

static int read_memory(int thread, uint64_t address, void *data, size_t size)
{
	int fd = open_proc(thread, "mem", O_RDONLY);
	ssize_t count;

	if (fd < 0)
		return -1;
	count = pread(fd, data, size, (off_t)address);
	close(fd);
	return count == (ssize_t)size ? 0 : -1;
}

/* A string may end just before a page that is not there. */
static int read_string(int thread, uint64_t address, char *text, size_t size)
{
	int fd = open_proc(thread, "mem", O_RDONLY);
	size_t at = 0;

	if (fd < 0)
		return -1;
	while (at < size) {
		size_t count = PAGE - (address + at) % PAGE;
		ssize_t got;

		count = count < size - at ? count : size - at;
		got = pread(fd, text + at, count, (off_t)(address + at));
		if (got <= 0)
			break;
		if (memchr(text + at, 0, (size_t)got)) {
			close(fd);
			return 0;
		}
		at += (size_t)got;
	}
	close(fd);
	return -1;
}

/* Where a link in /proc leads to; "" for the root itself, so that a path may follow. */
static int read_link(int thread, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t count;

	snprintf(path, sizeof(path), "/proc/%d/%s", thread, name);
	count = readlink(path, text, size - 1);
	if (count < 0 || text[0] != '/')
		return -1;
	text[count] = 0;
	if (count == 1)
		text[0] = 0;
	return 0;
}

/* A name that a call was given, from the root; NULL where it cannot be known. */
static char *named(int thread, int directory, uint64_t address)
{
	char name[PATH_MAX], base[PATH_MAX], link[32] = "cwd";
	char *path;

	if (read_string(thread, address, name, sizeof(name)) < 0 || !name[0])
		return NULL;
	if (name[0] == '/')
		strcpy(link, "root");
	else if (directory != AT_FDCWD)
		snprintf(link, sizeof(link), "fd/%d", directory);
	if (read_link(thread, link, base, sizeof(base)) < 0)
		return NULL;
	path = malloc(strlen(base) + strlen(name) + 2);
	if (path)
		sprintf(path, name[0] == '/' ? "%s%s" : "%s/%s", base, name);
	return path;
}

static int take(int thread, int number)
{
	char name[32];

	snprintf(name, sizeof(name), "fd/%d", number);
	return open_proc(thread, name, O_PATH);
}

/* Where a descriptor stands. */
static uint64_t position(int thread, int number)
{
	char name[32], text[256];
	unsigned long long found = 0;

	snprintf(name, sizeof(name), "fdinfo/%d", number);
	if (read_proc(thread, name, text, sizeof(text)) == 0)
		sscanf(text, "pos: %llu", &found);
	return found;
}

/* The offset that a call was given, or that of the descriptor where it was given none. */
static uint64_t offset(const struct seccomp_notif *call, const struct fusecopy_row *row, uint64_t address, int number)
{
	uint64_t found = 0;

	if (address && read_memory((int)call->pid, address, &found, (size_t)row->bytes) == 0)
		return found;
	return position((int)call->pid, number);
}

static bool regular(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode));
}

/* Both files of a copy. False where it is none of ours: a socket's, a terminal's. */
static bool note_files(struct fusecopy_noted *noted, int source, int destination)
{
	noted->source_number = source;
	noted->destination_number = destination;
	noted->source = take(noted->thread, source);
	noted->destination = take(noted->thread, destination);
	if (noted->source < 0 || noted->destination < 0) {
		if (errno != ENOENT)
			noted->kind = FUSECOPY_UNSEEN;
		return errno != ENOENT; /* a number that names nothing: EBADF */
	}
	return regular(noted->source) && regular(noted->destination);
}

static bool note_clone(struct fusecopy_noted *noted, const struct seccomp_notif *call)
{
	struct file_clone_range range = { .src_fd = (int)call->data.args[2] };

	if ((uint32_t)call->data.args[1] == FICLONERANGE) {
		noted->kind = FUSECOPY_FICLONERANGE;
		if (read_memory(noted->thread, call->data.args[2], &range, sizeof(range)) < 0)
			return false;
	}
	noted->offset_in = range.src_offset;
	noted->offset_out = range.dest_offset;
	noted->length = range.src_length ? range.src_length : TO_THE_END;
	return note_files(noted, (int)range.src_fd, (int)call->data.args[0]);
}

static bool note_copy(struct fusecopy_noted *noted, const struct seccomp_notif *call, const struct fusecopy_row *row)
{
	const __u64 *given = call->data.args;
	bool sendfile = noted->kind == FUSECOPY_SENDFILE;
	int source = (int)given[sendfile ? 1 : 0], destination = (int)given[sendfile ? 0 : 2];

	if (!note_files(noted, source, destination))
		return false;
	if (noted->kind == FUSECOPY_UNSEEN)
		return true;
	noted->offset_in = offset(call, row, given[sendfile ? 2 : 1], source);
	noted->offset_out = offset(call, row, sendfile ? 0 : given[3], destination);
	noted->length = given[sendfile ? 3 : 4];
	return true;
}

static bool note_open(struct fusecopy_noted *noted, const struct seccomp_notif *call, const struct fusecopy_row *row)
{
	uint64_t flags = O_WRONLY;

	if (row->flags >= 0 && !row->bytes)
		flags = call->data.args[row->flags];
	else if (row->flags >= 0 && read_memory(noted->thread, call->data.args[row->flags], &flags, sizeof(flags)) < 0)
		return false;
	noted->writes = (flags & O_ACCMODE) != O_RDONLY;
	return !(flags & (O_PATH | O_DIRECTORY));
}

/* What no regular file's name begins with. */
static bool is_file(const char *path)
{
	return strncmp(path, "/proc/", 6) && strncmp(path, "/sys/", 5) && strncmp(path, "/dev/", 5);
}

static bool note_names(struct fusecopy_noted *noted, const struct seccomp_notif *call, const struct fusecopy_row *row)
{
	const __u64 *given = call->data.args;
	int directory = row->directory < 0 ? AT_FDCWD : (int)given[row->directory];

	noted->path = named(noted->thread, directory, given[row->path]);
	if (noted->path && noted->kind == FUSECOPY_RENAME) {
		int at = row->path + 1;
		directory = row->directory < 0 ? AT_FDCWD : (int)given[at++];
		noted->other = named(noted->thread, directory, given[at]);
		return noted->other != NULL;
	}
	if (!noted->path && errno == EACCES && noted->writes)
		noted->kind = FUSECOPY_UNSEEN;
	return noted->kind == FUSECOPY_UNSEEN || (noted->path && is_file(noted->path));
}

static void note_caller(struct fusecopy_noted *noted)
{
	char text[512];
	const char *group;

	if (read_proc(noted->thread, "status", text, sizeof(text)) < 0)
		return;
	sscanf(text, "Name:\t%63[^\n]", noted->program);
	group = strstr(text, "\nTgid:\t");
	if (group)
		noted->process = atoi(group + strlen("\nTgid:\t"));
}

/* False where there is nothing to tell. */
static bool note(struct fusecopy_noted *noted, const struct seccomp_notif *call)
{
	const struct fusecopy_row *row = fusecopy_row(call->data.arch, call->data.nr);
	bool wanted;

	if (!row)
		return false;
	noted->kind = row->kind;
	switch (row->kind) {
	case FUSECOPY_UMOUNT:
	case FUSECOPY_EXIT:
		return true;
	case FUSECOPY_FICLONE:
		wanted = note_clone(noted, call);
		break;
	case FUSECOPY_OPEN:
		wanted = note_open(noted, call, row) && note_names(noted, call, row);
		break;
	case FUSECOPY_RENAME:
		wanted = note_names(noted, call, row);
		break;
	default:
		wanted = note_copy(noted, call, row);
	}
	if (wanted && (row->kind != FUSECOPY_OPEN || noted->writes))
		note_caller(noted);
	return wanted;
}

static void drop(struct fusecopy_noted *noted)
{
	if (noted->source >= 0)
		close(noted->source);
	if (noted->destination >= 0)
		close(noted->destination);
	fusecopy_forget(noted);
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_REALTIME_COARSE, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void note_call(const struct seccomp_notif *call)
{
	struct fusecopy_noted *noted = calloc(1, sizeof(*noted));

	if (!noted) {
		count_unnoted();
		return;
	}
	noted->thread = noted->process = (int)call->pid;
	noted->time = now();
	noted->source = noted->destination = -1;
	errno = 0;
	if (!note(noted, call)) {
		drop(noted);
		return;
	}
	if (noted->kind == FUSECOPY_UNSEEN) {
		count_unnoted();
		drop(noted);
		return;
	}
	if (noted->kind != FUSECOPY_UMOUNT) {
		push(noted);
		return;
	}
	pthread_mutex_lock(&lock);
	unmounts = 1;
	pthread_mutex_unlock(&lock);
	push(noted);
	await_unmount();
}

static bool abandoned(int listener)
{
	struct pollfd polled = { .fd = listener };

	return poll(&polled, 1, 0) > 0 && polled.revents & POLLHUP;
}

static bool receive(int listener, struct seccomp_notif *call)
{
	do {
		memset(call, 0, sizeof(*call));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, call) == 0)
			return true;
	} while (!abandoned(listener));
	return false;
}

void fusecopy_note(int listener, uint64_t *current)
{
	struct seccomp_notif call;

	/* Caller and supervisor take turns, so that the one need not wake another processor for the other. */
	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	while (receive(listener, &call)) {
		__atomic_store_n(current, call.id, __ATOMIC_RELEASE);
		note_call(&call);
		fusecopy_continue(listener, call.id);
	}
}

void fusecopy_stand_by(int listener, int told_by, uint64_t *current)
{
	struct seccomp_notif call;
	uint64_t left;
	char byte;

	while (read(told_by, &byte, 1) != 0)
		;
	left = __atomic_load_n(current, __ATOMIC_ACQUIRE);
	/* Killed on its way out of the kernel, the supervisor has a call in hand that it did not come to tell. Ids
	 * count up (kernel/seccomp.c), and to answer what nobody has in hand does nothing. */
	for (uint64_t at = 0; left && at < MOST_AHEAD; at++)
		fusecopy_continue(listener, left + at);
	while (!abandoned(listener)) {
		struct pollfd polled = { .fd = listener, .events = POLLIN };
		poll(&polled, 1, -1);
		memset(&call, 0, sizeof(call));
		if (polled.revents & POLLIN && ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0)
			fusecopy_continue(listener, call.id);
	}
}
