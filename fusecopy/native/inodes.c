/*
 * The inode table. An inode is held by an O_PATH descriptor, which no rename or replaced name can turn into another
 * file. When there are more inodes than descriptors may be open, the least recently used is closed, and opened again on
 * demand (borrowing.c). What the kernel may ask for although no name leads to it any more (unlinked files, removed
 * directories) keeps its descriptor. Any thread may call.
 */

#include "inodes.h"

#include "borrowing.h"
#include "devices.h"
#include "table.h"
#include "watch.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is watched is watched before it is in the table, and until it was taken out: both happen under this lock, inside
 * of which the table's is taken. */
static pthread_mutex_t entering = PTHREAD_MUTEX_INITIALIZER;

static struct fusecopy_inode *root;
static double timeout;

struct fusecopy_inode *fusecopy_begin_inodes(int descriptor, size_t limit, double seconds)
{
	struct stat st;

	root = fstat(descriptor, &st) == 0 ? calloc(1, sizeof(*root)) : NULL;
	if (!root || !fusecopy_first_device(st.st_dev, descriptor))
		return NULL;
	*root = (struct fusecopy_inode){
		.number = FUSECOPY_ROOT,
		.device = st.st_dev,
		.ino = st.st_ino,
		.lookups = 1,
		.told_size = -1,
		.descriptor = descriptor,
		.holders = 2,
		.is_kept = 1,
	};
	timeout = seconds;
	fusecopy_open_by_handles(fusecopy_may_open_handles(descriptor));
	fusecopy_watch_enter(FUSECOPY_ROOT, descriptor, FUSECOPY_ROOT);
	fusecopy_table_lock();
	fusecopy_table_begin(limit);
	fusecopy_table_add(root);
	fusecopy_table_unlock();
	return root;
}

size_t fusecopy_count_inodes(void)
{
	size_t count;

	fusecopy_table_lock();
	count = fusecopy_table_count() - 1;
	fusecopy_table_unlock();
	return count;
}

/* ---- entering ----------------------------------------------------------------------------------------- */

/* A file that was found. */
struct found {
	int descriptor; /* -1: the table has it */
	uint64_t device;
	uint64_t ino;
	struct fusecopy_inode *directory;
	const char *name;
	struct file_handle *handle;
	int was_asked; /* for its handle */
};

/* Under the table's lock: take a new descriptor for an inode whose own was closed. If its file went meanwhile and
 * another got its inode number, the generation tells the kernel, which drops what it knew. */
static void adopt(struct fusecopy_inode *inode, struct found *found)
{
	if (inode->handle && !fusecopy_is_same_handle(inode->handle, found->handle))
		inode->generation++;
	free(inode->handle);
	inode->handle = found->handle;
	inode->descriptor = found->descriptor;
	found->handle = NULL;
	found->descriptor = -1;
}

/* Under the table's lock: a further look-up of what is known. */
static void count_up(struct fusecopy_inode *inode, struct found *found)
{
	if (inode != root)
		fusecopy_inode_see(inode, found->directory, found->name);
	if (inode->descriptor < 0)
		adopt(inode, found);
	if (!inode->is_kept)
		fusecopy_table_touch(inode);
	inode->lookups++;
}

static struct fusecopy_inode *enter_known(struct found *found)
{
	struct fusecopy_inode *inode;
	int is_closed;

	fusecopy_table_lock();
	inode = fusecopy_table_find_file(found->device, found->ino);
	is_closed = inode && inode->descriptor < 0 && !found->was_asked;
	if (inode && !is_closed)
		count_up(inode, found);
	fusecopy_table_unlock();
	if (!is_closed)
		return inode;
	found->handle = fusecopy_handle(found->descriptor);
	found->was_asked = 1;
	return enter_known(found);
}

/* The backing's own where possible. It stays while it is known, so that hard links are recognised by st_ino. */
static uint64_t free_number(const struct fusecopy_device *device, uint64_t ino)
{
	uint64_t number = fusecopy_usual_number(device, ino);

	fusecopy_table_lock();
	while (number <= FUSECOPY_ROOT || fusecopy_table_find(number))
		number = fusecopy_next_number(number);
	fusecopy_table_unlock();
	return number;
}

static int add(struct fusecopy_inode *inode, struct found *found)
{
	int error;

	fusecopy_watch_enter(inode->number, found->descriptor, found->directory->number);
	fusecopy_table_lock();
	error = fusecopy_inode_see(inode, found->directory, found->name);
	if (!error)
		error = fusecopy_table_add(inode);
	if (!error)
		fusecopy_table_touch(inode);
	fusecopy_table_unlock();
	if (error)
		fusecopy_watch_forget(inode->number, found->descriptor);
	return error;
}

/* Under `entering`. */
static struct fusecopy_inode *enter_new(const struct fusecopy_device *device, struct found *found)
{
	struct fusecopy_inode *inode = malloc(sizeof(*inode));

	if (!inode)
		return NULL;
	*inode = (struct fusecopy_inode){
		.number = free_number(device, found->ino),
		.device = found->device,
		.ino = found->ino,
		.lookups = 1,
		.told_size = -1,
		.descriptor = found->descriptor,
		.holders = 1,
	};
	if (add(inode, found) < 0) {
		fusecopy_release(inode);
		return NULL;
	}
	found->descriptor = -1;
	return inode;
}

struct fusecopy_inode *fusecopy_enter(int descriptor, uint64_t device, uint64_t ino, struct fusecopy_inode *directory,
				      const char *name)
{
	struct found found = { descriptor, device, ino, directory, name, NULL, 0 };
	struct fusecopy_device *filesystem = fusecopy_device_of(device, descriptor);
	struct fusecopy_inode *inode = filesystem ? enter_known(&found) : NULL;

	if (filesystem && !inode) {
		fusecopy_anchor(filesystem, descriptor);
		pthread_mutex_lock(&entering);
		inode = enter_known(&found);
		if (!inode)
			inode = enter_new(filesystem, &found);
		pthread_mutex_unlock(&entering);
	}
	free(found.handle);
	if (inode && found.descriptor >= 0)
		close(found.descriptor);
	if (inode)
		fusecopy_make_room();
	return inode;
}

/* ---- forgetting --------------------------------------------------------------------------------------- */

/* Under the table's lock. The inode, lent, if that was its last look-up. */
static struct fusecopy_inode *count_down(uint64_t number, uint64_t count)
{
	struct fusecopy_inode *inode = fusecopy_table_find(number);

	if (!inode || inode == root)
		return NULL;
	inode->lookups = inode->lookups > count ? inode->lookups - count : 0;
	if (inode->lookups)
		return NULL;
	fusecopy_table_remove(inode);
	inode->borrowers++; /* the table's hold goes with it */
	return inode;
}

void fusecopy_forget(uint64_t number, uint64_t count)
{
	struct fusecopy_inode *forgotten;
	int descriptor = -1;

	pthread_mutex_lock(&entering);
	fusecopy_table_lock();
	forgotten = count_down(number, count);
	if (forgotten)
		descriptor = forgotten->descriptor;
	fusecopy_table_unlock();
	if (forgotten)
		fusecopy_watch_forget(number, descriptor);
	pthread_mutex_unlock(&entering);
	if (forgotten)
		fusecopy_give_back(forgotten);
}

/* Programs' files may be open still, and their inodes be held; no request comes any more. */
void fusecopy_end_inodes(void)
{
	struct fusecopy_inode *all[64];
	size_t count;

	while ((count = fusecopy_all_inodes(all, 64)) > 1)
		for (size_t n = 0; n < count && n < 64; n++) {
			fusecopy_forget(all[n]->number, UINT64_MAX);
			fusecopy_release(all[n]);
		}
	fusecopy_watch_forget(FUSECOPY_ROOT, root->descriptor);
	fusecopy_table_lock();
	fusecopy_table_remove(root);
	root->lookups = 0;
	root->borrowers++;
	fusecopy_table_unlock();
	fusecopy_forget_devices(root->descriptor);
	fusecopy_give_back(root);
}

/* ---- what the kernel is told ---------------------------------------------------------------------------- */

void fusecopy_tell(uint64_t number, struct fusecopy_entry *entry)
{
	struct fusecopy_inode *inode;

	fusecopy_table_lock();
	inode = fusecopy_table_find(number);
	entry->number = number;
	entry->attr_timeout = inode && !inode->is_expired ? timeout : 0;
	entry->generation = inode ? inode->generation : 0;
	if (inode)
		inode->told_size = entry->stat.st_size;
	fusecopy_table_unlock();
	entry->attr_timeout = fusecopy_watch_limit(number, entry->attr_timeout);
}

double fusecopy_name_timeout(const struct fusecopy_inode *directory)
{
	return fusecopy_watch_limit(directory->number, timeout);
}

int fusecopy_expire(uint64_t number)
{
	struct fusecopy_inode *inode;
	int was_believed;

	fusecopy_table_lock();
	inode = fusecopy_table_find(number);
	was_believed = inode && !inode->is_expired && timeout > 0;
	if (inode)
		inode->is_expired = 1;
	fusecopy_table_unlock();
	return was_believed;
}

int64_t fusecopy_told_size(const struct fusecopy_inode *inode)
{
	int64_t size;

	fusecopy_table_lock();
	size = inode->lookups ? inode->told_size : -1;
	fusecopy_table_unlock();
	return size;
}
