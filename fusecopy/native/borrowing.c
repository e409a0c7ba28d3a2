/*
 * Descriptors of inodes. As long as somebody uses one its number must not become another file's, and that may be long
 * where the backing is on a network; so the last user closes it. No lock is held while one is opened or closed.
 *
 * One that was closed is opened again by file handle where that is permitted, else by its directory and name, and then
 * only if the file found there is still the same one.
 */

#include "borrowing.h"

#include "devices.h"
#include "seen.h"
#include "table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directories above one another that were all closed; those moved behind the mount's back may lie in each other. */
#define DEEPEST 4096

static int by_handles;

void fusecopy_open_by_handles(int is_permitted)
{
	by_handles = is_permitted;
}

int fusecopy_opens_by_handles(void)
{
	return by_handles;
}

/* ---- holding ------------------------------------------------------------------------------------------ */

struct fusecopy_inode *fusecopy_hold(struct fusecopy_inode *inode)
{
	fusecopy_table_lock();
	fusecopy_inode_hold(inode);
	fusecopy_table_unlock();
	return inode;
}

void fusecopy_release(struct fusecopy_inode *inode)
{
	fusecopy_table_lock();
	fusecopy_inode_release(inode);
	fusecopy_table_unlock();
}

struct fusecopy_inode *fusecopy_inode_of(uint64_t number)
{
	struct fusecopy_inode *inode;

	fusecopy_table_lock();
	inode = fusecopy_table_find(number);
	if (inode)
		fusecopy_inode_hold(inode);
	fusecopy_table_unlock();
	return inode;
}

int fusecopy_is_inode(uint64_t number)
{
	int is;

	fusecopy_table_lock();
	is = fusecopy_table_find(number) != NULL;
	fusecopy_table_unlock();
	return is;
}

struct fusecopy_inode *fusecopy_inode_of_file(uint64_t device, uint64_t ino)
{
	struct fusecopy_inode *inode;

	fusecopy_table_lock();
	inode = fusecopy_table_find_file(device, ino);
	if (inode)
		fusecopy_inode_hold(inode);
	fusecopy_table_unlock();
	return inode;
}

size_t fusecopy_all_inodes(struct fusecopy_inode **found, size_t room)
{
	size_t count;

	fusecopy_table_lock();
	count = fusecopy_table_all(found, room);
	for (size_t n = 0; n < count && n < room; n++)
		fusecopy_inode_hold(found[n]);
	fusecopy_table_unlock();
	return count;
}

/* ---- borrowing ---------------------------------------------------------------------------------------- */

/* Under the lock. */
static struct fusecopy_inode *use(struct fusecopy_inode *inode)
{
	fusecopy_inode_hold(inode);
	inode->borrowers++;
	if (inode->newer)
		fusecopy_table_touch(inode);
	return inode;
}

struct fusecopy_inode *fusecopy_borrow(uint64_t number)
{
	struct fusecopy_inode *inode;

	fusecopy_table_lock();
	inode = fusecopy_table_find(number);
	inode = inode && inode->descriptor >= 0 ? use(inode) : NULL;
	fusecopy_table_unlock();
	return inode;
}

/* Under the lock: the descriptor of a forgotten inode that nobody borrows any more, to be closed outside of it; or -1.
 */
static int let_go(struct fusecopy_inode *inode)
{
	int descriptor = inode->descriptor;

	if (inode->lookups || inode->borrowers)
		return -1;
	inode->descriptor = -1;
	return descriptor;
}

void fusecopy_give_back(struct fusecopy_inode *inode)
{
	int descriptor;

	fusecopy_table_lock();
	inode->borrowers--;
	descriptor = let_go(inode);
	fusecopy_inode_release(inode);
	fusecopy_table_unlock();
	if (descriptor >= 0)
		close(descriptor);
}

/* ---- opening again ------------------------------------------------------------------------------------ */

static int is_same(const struct fusecopy_inode *inode, int descriptor)
{
	struct file_handle *handle;
	struct stat st;
	int same;

	if (fstat(descriptor, &st) < 0 || st.st_dev != inode->device || st.st_ino != inode->ino)
		return 0;
	if (!inode->handle)
		return 1;
	handle = fusecopy_handle(descriptor);
	same = fusecopy_is_same_handle(inode->handle, handle);
	free(handle);
	return same;
}

/* The file of that name in an open directory, if it is still the same. */
static int open_same(const struct fusecopy_inode *inode, int directory, const char *name)
{
	int descriptor = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (descriptor < 0)
		return errno == ENOENT || errno == ENOTDIR ? -ESTALE : -errno;
	if (is_same(inode, descriptor))
		return descriptor;
	close(descriptor);
	return -ESTALE;
}

static int take(struct fusecopy_inode *inode, int depth);

/* By this name; its directory is opened again first, if that was closed, too. */
static int open_in(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name, int depth)
{
	int descriptor = depth < DEEPEST ? take(directory, depth + 1) : -ESTALE;

	if (descriptor < 0)
		return descriptor;
	descriptor = open_same(inode, directory->descriptor, name);
	fusecopy_give_back(directory);
	return descriptor;
}

/* By the name last seen. So many names, if it lies that deep, are more than a stack has room for. */
static int open_by_name(struct fusecopy_inode *inode, int depth)
{
	char *name = malloc(FUSECOPY_NAME_BYTES);
	struct fusecopy_inode *directory = name ? fusecopy_seen(inode, name) : NULL;
	int descriptor = name ? -ESTALE : -ENOMEM;

	if (directory) {
		descriptor = open_in(inode, directory, name, depth);
		fusecopy_release(directory);
	}
	free(name);
	return descriptor;
}

/* A handle leads to the file by the mount of the anchor, in which it may be written although the mount inside the
 * backing that it was found in is a read-only one. */
static int is_in_mount(const struct fusecopy_inode *inode, const struct fusecopy_device *device)
{
	return inode->mount == fusecopy_mount_of(device->anchor);
}

static int reopen(struct fusecopy_inode *inode, int depth)
{
	const struct fusecopy_device *device = fusecopy_device_of(inode->device, -1);
	int descriptor;

	if (!by_handles || !device || device->anchor < 0 || !inode->handle || !is_in_mount(inode, device))
		return open_by_name(inode, depth);
	descriptor = fusecopy_open_handle(device, inode->handle);
	return descriptor < 0 ? -errno : descriptor;
}

/* One that is lent, unless another thread was quicker. */
static int open_again(struct fusecopy_inode *inode, int depth)
{
	int descriptor = reopen(inode, depth);

	if (descriptor < 0)
		return descriptor;
	fusecopy_table_lock();
	if (inode->descriptor < 0) {
		inode->descriptor = descriptor;
		descriptor = -1;
		if (inode->lookups && !inode->is_kept)
			fusecopy_table_touch(inode);
	}
	fusecopy_table_unlock();
	if (descriptor >= 0)
		close(descriptor);
	else
		fusecopy_make_room();
	return 0;
}

static int take(struct fusecopy_inode *inode, int depth)
{
	int is_closed, error;

	fusecopy_table_lock();
	is_closed = use(inode)->descriptor < 0;
	fusecopy_table_unlock();
	error = is_closed ? open_again(inode, depth) : 0;
	if (error < 0)
		fusecopy_give_back(inode);
	return error;
}

int fusecopy_take(struct fusecopy_inode *inode)
{
	return take(inode, 0);
}

/* ---- closing ------------------------------------------------------------------------------------------ */

/* Under the lock: the one that was used least recently, lent for as long as its handle is asked for. */
static struct fusecopy_inode *take_surplus(size_t limit)
{
	struct fusecopy_inode *inode;

	for (size_t n = fusecopy_table_surplus(limit); n > 0; n--) {
		inode = fusecopy_table_oldest();
		if (!inode->borrowers) {
			fusecopy_table_untouch(inode);
			return use(inode);
		}
		fusecopy_table_touch(inode);
	}
	return NULL;
}

/* Under the lock: its descriptor, unless somebody has begun to use it meanwhile. */
static int end_surplus(struct fusecopy_inode *inode, struct file_handle **handle, uint64_t mount)
{
	int descriptor = -1, is_wanted;

	if (!inode->handle) {
		inode->handle = *handle;
		*handle = NULL;
	}
	inode->borrowers--;
	is_wanted = inode->borrowers || (inode->lookups && (inode->is_kept || inode->newer));
	if (!is_wanted) {
		descriptor = inode->descriptor;
		inode->descriptor = -1;
		inode->mount = mount;
	} else if (inode->lookups && !inode->is_kept) {
		fusecopy_table_touch(inode);
	}
	fusecopy_inode_release(inode);
	return descriptor;
}

static void close_down_to(size_t limit)
{
	struct fusecopy_inode *inode;
	struct file_handle *handle;
	uint64_t mount;
	int descriptor;

	fusecopy_table_lock();
	while ((inode = take_surplus(limit))) {
		handle = inode->handle;
		fusecopy_table_unlock();
		handle = handle ? NULL : fusecopy_handle(inode->descriptor);
		mount = fusecopy_mount_of(inode->descriptor);
		fusecopy_table_lock();
		descriptor = end_surplus(inode, &handle, mount);
		fusecopy_table_unlock();
		free(handle);
		if (descriptor >= 0)
			close(descriptor);
		fusecopy_table_lock();
	}
	fusecopy_table_unlock();
}

void fusecopy_make_room(void)
{
	close_down_to(fusecopy_table_limit());
}

void fusecopy_run_out(void)
{
	fusecopy_table_lock();
	fusecopy_table_halve();
	fusecopy_table_unlock();
	close_down_to(0);
}
