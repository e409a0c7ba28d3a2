/* The open files. Which of them is meant a request says by its address: the kernel tells no other. */

#include "files.h"

#include "borrowing.h"
#include "clients.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fusecopy_file *first;

struct fusecopy_file *fusecopy_new_file(int fd, struct fusecopy_inode *inode)
{
	struct fusecopy_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->fd = fd;
	file->inode = fusecopy_hold(inode);
	file->device = inode->device;
	file->ino = inode->ino;
	file->holders = 1;
	file->is_open = 1;
	pthread_mutex_lock(&lock);
	file->next = first;
	if (first)
		first->previous = file;
	first = file;
	pthread_mutex_unlock(&lock);
	return file;
}

int fusecopy_take_out_file(struct fusecopy_file *file)
{
	int was_open;

	pthread_mutex_lock(&lock);
	was_open = file->is_open;
	if (was_open) {
		file->is_open = 0;
		if (file->next)
			file->next->previous = file->previous;
		if (file->previous)
			file->previous->next = file->next;
		else
			first = file->next;
	}
	pthread_mutex_unlock(&lock);
	if (was_open)
		fusecopy_release_file(file);
	return was_open;
}

struct fusecopy_file *fusecopy_hold_file(struct fusecopy_file *file)
{
	pthread_mutex_lock(&lock);
	file->holders++;
	pthread_mutex_unlock(&lock);
	return file;
}

void fusecopy_release_file(struct fusecopy_file *file)
{
	int holders;

	pthread_mutex_lock(&lock);
	holders = --file->holders;
	pthread_mutex_unlock(&lock);
	if (holders > 0)
		return;
	fusecopy_forget_clients(file);
	fusecopy_release(file->inode);
	free(file->asker);
	free(file);
}

size_t fusecopy_all_files(struct fusecopy_file **found, size_t room)
{
	size_t count = 0;

	pthread_mutex_lock(&lock);
	for (struct fusecopy_file *file = first; file; file = file->next)
		if (count++ < room) {
			file->holders++;
			found[count - 1] = file;
		}
	pthread_mutex_unlock(&lock);
	return count;
}
