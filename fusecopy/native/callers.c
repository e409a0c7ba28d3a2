/*
 * Who sent a request, as /proc has it while the kernel holds the caller still.
 *
 * The last threads are remembered: their directories are held open, and all that may change is read in them each
 * time. A thread that has its number later, or a program that it has executed since, is not taken for it.
 *
 * Reading a command line touches the program's memory. A page of that may come from the very mount, and then another
 * thread of the server has to serve the READ; so no lock is held meanwhile.
 */

#include "callers.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* More of /proc/PID/status than comes before and with PPid. */
#define STATUS_BYTES 512

struct thread {
	pid_t number; /* 0 is nobody: a free place, or one whose thread is gone */
	pid_t pid;
	pid_t parent;
	int directory; /* -1 in a free place */
	int comm;
	int args;
	int users;
	uint64_t used;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct thread remembered[FUSECOPY_CALLERS] = { [0 ... FUSECOPY_CALLERS - 1] = { .directory = -1 } };
static uint64_t uses;

/* Of these places so many are used. */
static int places = FUSECOPY_CALLERS;

static void close_thread(const struct thread *thread)
{
	close(thread->directory);
	close(thread->comm);
	close(thread->args);
}

static long number_after(const char *status, const char *key)
{
	const char *found = strstr(status, key);

	return found ? strtol(found + strlen(key), NULL, 10) : -1;
}

static int read_status(struct thread *thread)
{
	char status[STATUS_BYTES + 1];
	int fd = openat(thread->directory, "status", O_RDONLY | O_CLOEXEC);
	ssize_t size;

	if (fd < 0)
		return 0;
	size = read(fd, status, STATUS_BYTES);
	close(fd);
	if (size <= 0)
		return 0;
	status[size] = '\0';
	thread->pid = number_after(status, "\nTgid:\t");
	thread->parent = number_after(status, "\nPPid:\t");
	return thread->pid > 0;
}

static pthread_once_t looked_at_proc = PTHREAD_ONCE_INIT;
static int sees_threads;

/* /proc may have been mounted for another pid namespace than the one that the mount's requests count in, where our
 * numbers are other processes'. */
static void look_at_proc(void)
{
	char self[16] = "";

	sees_threads = readlink("/proc/self", self, sizeof(self) - 1) > 0 && strtol(self, NULL, 10) == getpid();
}

int fusecopy_sees_threads(void)
{
	pthread_once(&looked_at_proc, look_at_proc);
	return sees_threads;
}

/* False where there is no such thread, or it may not be seen. */
static int open_thread(pid_t number, struct thread *thread)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)number);
	*thread = (struct thread){ .number = number, .comm = -1, .args = -1 };
	thread->directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (thread->directory < 0)
		return 0;
	if (read_status(thread)) {
		thread->comm = openat(thread->directory, "comm", O_RDONLY | O_CLOEXEC);
		thread->args = openat(thread->directory, "cmdline", O_RDONLY | O_CLOEXEC);
	}
	if (thread->comm >= 0 && thread->args >= 0)
		return 1;
	close_thread(thread);
	return 0;
}

/* The process's own user; -1 where the thread is gone. */
static int64_t owner(const struct thread *thread)
{
	struct stat st;

	return fstat(thread->directory, &st) < 0 ? -1 : (int64_t)st.st_uid;
}

/* The program's name is the process's; a thread may have one of its own. */
static ssize_t read_name(const struct thread *thread, char *name, size_t size)
{
	char path[32];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)thread->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	length = read(fd, name, size);
	close(fd);
	return length;
}

/* False where the thread is gone. */
static int look(const struct thread *thread, int64_t uid, struct fusecopy_caller *caller)
{
	pid_t group = getpgid(thread->pid);
	ssize_t exe = readlinkat(thread->directory, "exe", caller->exe, sizeof(caller->exe));
	ssize_t args = pread(thread->args, caller->args, sizeof(caller->args), 0);
	int64_t user = uid < 0 ? owner(thread) : uid;
	char own[FUSECOPY_COMM_BYTES];
	ssize_t comm = thread->pid == thread->number ? 0 : read_name(thread, caller->comm, sizeof(caller->comm));
	/* Last: while this can be read the thread is there, and so was what was read before. */
	ssize_t own_size = pread(thread->comm, own, sizeof(own), 0);

	if (user < 0 || args < 0 || comm < 0 || own_size < 0)
		return 0;
	if (thread->pid == thread->number) {
		memcpy(caller->comm, own, own_size);
		comm = own_size;
	}
	caller->pid = thread->pid;
	caller->parent = thread->parent;
	caller->group = group < 0 ? 0 : group;
	caller->uid = user;
	caller->comm_size = comm;
	caller->args_size = args;
	caller->exe_size = exe < 0 ? 0 : exe;
	return 1;
}

/* ---- those that are remembered ------------------------------------------------------------------------ */

static struct thread *take(pid_t number)
{
	struct thread *found = NULL;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < FUSECOPY_CALLERS && !found; i++)
		if (remembered[i].number == number)
			found = &remembered[i];
	if (found) {
		found->users++;
		found->used = ++uses;
	}
	pthread_mutex_unlock(&lock);
	return found;
}

static void give_back(struct thread *thread, int is_there)
{
	struct thread gone = { .directory = -1 };

	pthread_mutex_lock(&lock);
	if (!is_there)
		thread->number = 0;
	if (--thread->users == 0 && thread->number == 0) {
		gone = *thread;
		thread->directory = -1;
	}
	pthread_mutex_unlock(&lock);
	if (gone.directory >= 0)
		close_thread(&gone);
}

/* The place of whoever was not seen for the longest time; NULL where all are being looked at. */
static struct thread *place(void)
{
	struct thread *best = NULL;

	for (int i = 0; i < places; i++) {
		struct thread *one = &remembered[i];

		if (one->directory < 0)
			return one;
		if (one->users == 0 && (!best || one->used < best->used))
			best = one;
	}
	return best;
}

static void remember(struct thread *thread)
{
	struct thread gone = *thread, *free_place = NULL;
	int known = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < FUSECOPY_CALLERS; i++)
		known |= remembered[i].number == thread->number;
	if (!known)
		free_place = place();
	if (free_place) {
		gone = *free_place;
		thread->used = ++uses;
		*free_place = *thread;
	}
	pthread_mutex_unlock(&lock);
	if (gone.directory >= 0)
		close_thread(&gone);
}

/* ---- for the rest of the native layer, and for Python ------------------------------------------------- */

void fusecopy_remember_callers(int count)
{
	places = count < FUSECOPY_CALLERS ? count : FUSECOPY_CALLERS;
}

int fusecopy_identify(pid_t number, int64_t uid, struct fusecopy_caller *caller)
{
	struct thread *known = number > 0 ? take(number) : NULL;
	struct thread fresh;
	int is_there;

	caller->thread = number;
	if (known) {
		is_there = look(known, uid, caller);
		give_back(known, is_there);
		if (is_there)
			return 0;
	}
	/* It is gone; there may be another of its number. */
	if (number <= 0 || !fusecopy_sees_threads() || !open_thread(number, &fresh))
		return -ESRCH;
	if (!look(&fresh, uid, caller)) {
		close_thread(&fresh);
		return -ESRCH;
	}
	remember(&fresh);
	return 0;
}

void fusecopy_forget_callers(void)
{
	struct thread gone[FUSECOPY_CALLERS];
	int count = 0;

	pthread_mutex_lock(&lock);
	for (int i = 0; i < FUSECOPY_CALLERS; i++) {
		remembered[i].number = 0;
		if (remembered[i].directory >= 0 && remembered[i].users == 0) {
			gone[count++] = remembered[i];
			remembered[i].directory = -1;
		}
	}
	pthread_mutex_unlock(&lock);
	while (count > 0)
		close_thread(&gone[--count]);
}

ssize_t fusecopy_read_words(pid_t number, char *words, size_t size)
{
	struct thread *known = number > 0 ? take(number) : NULL;
	char path[32];
	ssize_t length = -1;
	int fd;

	if (known) {
		length = pread(known->args, words, size, 0);
		give_back(known, length > 0);
	}
	if (length > 0 || number <= 0 || !fusecopy_sees_threads())
		return length;
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	length = read(fd, words, size);
	close(fd);
	return length;
}
