/*
 * Who sent how many READs and WRITEs of an open file, and what came of them.
 *
 * Each thread is a client of its own, however many there are. They are kept as a list with the latest in front: a
 * file mostly has one, and whoever has just asked asks next.
 */

#include "clients.h"

#include "deferred.h"
#include "fuse.h"
#include "request.h"
#include "sources.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* A flow is looked at again when the size of its requests changes, but no more often than this; and whenever there are
 * twice as many. */
#define LOOKS 8

/* With so many clients those that are gone are reported, and again whenever there are twice as many as were left. */
#define CROWD 64

/* One for all files: it is held for some instructions only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* READ's arguments and WRITE's begin alike. */
static const struct fuse_read_in *arguments_of(const struct fusecopy_request *request)
{
	return request->arguments;
}

static struct fusecopy_file *file_of(const struct fusecopy_request *request)
{
	return (struct fusecopy_file *)(uintptr_t)arguments_of(request)->fh;
}

static int is_write(const struct fusecopy_request *request)
{
	return request->header->opcode == FUSE_WRITE;
}

/* Mapped pages that the kernel writes back, it writes for nobody in particular. */
int64_t fusecopy_client(const struct fusecopy_request *request)
{
	const struct fuse_write_in *in = request->arguments;

	return is_write(request) && in->write_flags & FUSE_WRITE_CACHE ? FUSECOPY_WRITEBACK
								       : (int64_t)request->header->pid;
}

/* Under the lock. A thread that has no client yet gets one; NULL where there is no memory. */
static struct fusecopy_client *client_of(struct fusecopy_file *file, pid_t pid)
{
	struct fusecopy_client **link, *client;

	for (link = &file->clients; *link && (*link)->pid != pid; link = &(*link)->next)
		;
	client = *link;
	if (client)
		*link = client->next;
	else if ((client = calloc(1, sizeof(*client))))
		file->client_count++;
	else
		return NULL;
	client->pid = pid;
	client->next = file->clients;
	file->clients = client;
	return client;
}

/* Whether there are so many clients that some may be over. */
static int is_crowded(struct fusecopy_file *file)
{
	int limit = file->crowd ? file->crowd : CROWD;

	if (file->client_count < limit)
		return 0;
	file->crowd = 2 * limit; /* until those that are gone were counted */
	return 1;
}

/* The caller waits for this request, so now is the time to see which system call it is in: at the first READ, at each
 * WRITE of another size than the one before, because then another call may drive them, and when there are twice as
 * many. */
static int is_due(const struct fusecopy_client *client, const struct fusecopy_request *request)
{
	uint64_t before = client->written.requests;

	if (!is_write(request))
		return client->read.requests == 0;
	if (arguments_of(request)->size != client->last_write && client->looks < LOOKS)
		return 1;
	return (before & (before - 1)) == 0;
}

static struct fusecopy_moved *moved_of(struct fusecopy_client *client, const struct fusecopy_request *request)
{
	return is_write(request) ? &client->written : &client->read;
}

int fusecopy_look_is_due(const struct fusecopy_request *request)
{
	struct fusecopy_event crowded = { .kind = FUSECOPY_CROWDED, .source = file_of(request) };
	struct fusecopy_client *client;
	int due = 0, is_crowd = 0;

	pthread_mutex_lock(&lock);
	client = client_of(file_of(request), fusecopy_client(request));
	if (client) {
		client->uid = request->header->uid;
		if (moved_of(client, request)->first_ns == 0)
			moved_of(client, request)->first_ns = fusecopy_now_ns();
		due = is_due(client, request);
		is_crowd = is_crowded(file_of(request));
	}
	pthread_mutex_unlock(&lock);
	if (due && !is_write(request))
		fusecopy_note_source(crowded.source->device, crowded.source->ino, request->header->nodeid);
	if (is_crowd) {
		fusecopy_note(&crowded);
		fusecopy_wake();
	}
	return due;
}

/* Under the lock. */
static void add(struct fusecopy_moved *moved, int64_t off, int64_t result)
{
	moved->error = result < 0 ? -result : 0;
	if (result <= 0)
		return;
	if (moved->bytes == 0 || off < moved->low)
		moved->low = off;
	if (off + result > moved->high)
		moved->high = off + result;
	moved->bytes += result;
}

/* What the kernel's splice between two files moves at a time: the 16 pages of its private pipe (PIPE_DEF_BUFFERS). */
static size_t pipe_bytes(void)
{
	static size_t bytes; /* unlocked: every thread would store the same */

	if (bytes == 0)
		bytes = 16 * (size_t)sysconf(_SC_PAGESIZE);
	return bytes;
}

/* Under the lock: remember what the next WRITE is to be compared with. */
static void see_size(struct fusecopy_client *client, size_t size)
{
	client->looks += size != client->last_write && client->looks < LOOKS;
	client->last_write = size;
}

void fusecopy_count_moved(const struct fusecopy_request *request, int64_t result)
{
	const size_t size = arguments_of(request)->size;
	struct fusecopy_client *client;
	struct fusecopy_moved *moved;

	pthread_mutex_lock(&lock);
	client = client_of(file_of(request), fusecopy_client(request));
	if (client) {
		moved = moved_of(client, request);
		moved->requests++;
		moved->pipe_requests += size == pipe_bytes();
		moved->last_ns = fusecopy_now_ns();
		if (moved->first_ns == 0)
			moved->first_ns = moved->last_ns;
		add(moved, arguments_of(request)->offset, result);
		if (is_write(request)) {
			see_size(client, size);
			file_of(request)->is_written = 1;
		}
	}
	pthread_mutex_unlock(&lock);
}

/* ---- for Python ---------------------------------------------------------------------------------------- */

size_t fusecopy_clients(struct fusecopy_file *file, struct fusecopy_client *found, size_t room)
{
	size_t count = 0;

	pthread_mutex_lock(&lock);
	for (struct fusecopy_client *client = file->clients; client; client = client->next)
		if (count++ < room)
			found[count - 1] = *client;
	pthread_mutex_unlock(&lock);
	return count;
}

uint64_t fusecopy_written_by(struct fusecopy_file *file, pid_t pid)
{
	uint64_t bytes = 0;

	pthread_mutex_lock(&lock);
	for (struct fusecopy_client *client = file->clients; client; client = client->next)
		if (client->pid == pid)
			bytes = client->written.bytes;
	pthread_mutex_unlock(&lock);
	return bytes;
}

void fusecopy_take_moved(struct fusecopy_file *file, pid_t pid, int writes, struct fusecopy_moved *taken)
{
	const struct fusecopy_moved none = { .requests = 0 };

	*taken = none;
	pthread_mutex_lock(&lock);
	for (struct fusecopy_client *client = file->clients; client; client = client->next) {
		struct fusecopy_moved *moved = writes ? &client->written : &client->read;

		if (client->pid != pid)
			continue;
		*taken = *moved;
		*moved = none;
		if (writes) {
			client->looks = 0;
			client->last_write = 0;
		}
	}
	pthread_mutex_unlock(&lock);
}

void fusecopy_forget_client(struct fusecopy_file *file, pid_t pid)
{
	struct fusecopy_client **link, *gone = NULL;

	pthread_mutex_lock(&lock);
	for (link = &file->clients; *link && !gone;)
		if ((*link)->pid == pid) {
			gone = *link;
			*link = gone->next;
			file->client_count--;
		} else
			link = &(*link)->next;
	file->crowd = 2 * file->client_count > CROWD ? 2 * file->client_count : CROWD;
	pthread_mutex_unlock(&lock);
	free(gone);
}

void fusecopy_forget_clients(struct fusecopy_file *file)
{
	while (file->clients)
		fusecopy_forget_client(file, file->clients->pid);
}
