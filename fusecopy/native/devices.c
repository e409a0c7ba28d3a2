/* Filesystems: how their files are numbered, and opened by handle. */

#include "devices.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Above these an inode's number says which filesystem it is of: few have inode numbers as large. */
#define INO_BITS 40

/* Set for a filesystem of its own, clear for a further subvolume of the backing's btrfs. */
#define FOREIGN (1ULL << 23)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fusecopy_device *devices;
static uint64_t root_id;

/* Only added to, but for the end; those that are added are complete, so they are found without the lock. */
static struct fusecopy_device *find(uint64_t number)
{
	struct fusecopy_device *device = __atomic_load_n(&devices, __ATOMIC_ACQUIRE);

	while (device && device->number != number)
		device = device->next;
	return device;
}

/* What statfs(2) tells filesystems apart by; 0 where it has nothing. */
static uint64_t filesystem_id(int descriptor)
{
	struct statfs fs;
	uint32_t halves[2] = { 0, 0 };

	if (fstatfs(descriptor, &fs) == 0)
		memcpy(halves, &fs.f_fsid, sizeof(halves));
	return (uint64_t)halves[0] << 32 | halves[1];
}

/* What is added to the inode numbers of a filesystem.
 *
 * It is the same in each mount, whatever was looked at first: backup programs take a file with another number for
 * another file. statfs(2) tells filesystems apart by an id made of what they were made with; of the subvolumes of one
 * btrfs it differs in the subvolume's id alone (btrfs_statfs, fs/btrfs/super.c, Linux 6.1 to 7.2). Where two have the
 * same here, the order decides. */
static uint64_t first_number(uint64_t number, uint64_t id)
{
	const uint64_t subvolume = id ^ root_id, which = id ? id : number;

	if (subvolume > 0 && subvolume < FOREIGN)
		return subvolume << INO_BITS;
	return (FOREIGN | (which * 0x9e3779b97f4a7c15 >> 32) % FOREIGN) << INO_BITS;
}

static struct fusecopy_device *add(uint64_t number, uint64_t first, int anchor)
{
	struct fusecopy_device *device = malloc(sizeof(*device));

	if (!device)
		return NULL;
	*device = (struct fusecopy_device){ .number = number, .first = first, .anchor = anchor, .next = devices };
	__atomic_store_n(&devices, device, __ATOMIC_RELEASE);
	return device;
}

struct fusecopy_device *fusecopy_first_device(uint64_t number, int root)
{
	root_id = filesystem_id(root);
	return add(number, 0, root);
}

struct fusecopy_device *fusecopy_device_of(uint64_t number, int descriptor)
{
	struct fusecopy_device *device = find(number);
	uint64_t id;

	if (device)
		return device;
	id = filesystem_id(descriptor);
	pthread_mutex_lock(&lock);
	device = find(number);
	if (!device)
		device = add(number, first_number(number, id), -1);
	pthread_mutex_unlock(&lock);
	return device;
}

uint64_t fusecopy_usual_number(const struct fusecopy_device *device, uint64_t ino)
{
	return ino + device->first;
}

uint64_t fusecopy_next_number(uint64_t number)
{
	return number + (1ULL << INO_BITS) + 1;
}

void fusecopy_forget_devices(int root)
{
	struct fusecopy_device *device;

	while ((device = devices)) {
		devices = device->next;
		if (device->anchor >= 0 && device->anchor != root)
			close(device->anchor);
		free(device);
	}
}

void fusecopy_anchor(struct fusecopy_device *device, int descriptor)
{
	char path[32];
	int none = -1, anchor;

	if (__atomic_load_n(&device->anchor, __ATOMIC_ACQUIRE) >= 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
	/* A single file bound into the tree is no directory: its names lead to it. */
	anchor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (anchor >= 0 &&
	    !__atomic_compare_exchange_n(&device->anchor, &none, anchor, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		close(anchor);
}

/* ---- handles ------------------------------------------------------------------------------------------ */

struct file_handle *fusecopy_handle(int descriptor)
{
	struct file_handle *handle = malloc(sizeof(*handle) + FUSECOPY_HANDLE_BYTES), *fitting;
	int mount;

	if (!handle)
		return NULL;
	handle->handle_bytes = FUSECOPY_HANDLE_BYTES;
	if (name_to_handle_at(descriptor, "", handle, &mount, AT_EMPTY_PATH) < 0) {
		free(handle);
		return NULL;
	}
	fitting = realloc(handle, sizeof(*handle) + handle->handle_bytes);
	if (!fitting)
		fitting = handle;
	return fitting;
}

uint64_t fusecopy_mount_of(int descriptor)
{
	struct statx stx;

	if (statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return 0;
	return stx.stx_mask & STATX_MNT_ID ? stx.stx_mnt_id : 0;
}

int fusecopy_is_same_handle(const struct file_handle *one, const struct file_handle *other)
{
	if (!one || !other)
		return one == other;
	return one->handle_type == other->handle_type && one->handle_bytes == other->handle_bytes &&
	       memcmp(one->f_handle, other->f_handle, one->handle_bytes) == 0;
}

int fusecopy_open_handle(const struct fusecopy_device *device, const struct file_handle *handle)
{
	return open_by_handle_at(__atomic_load_n(&device->anchor, __ATOMIC_ACQUIRE),
				 (struct file_handle *)(uintptr_t)handle, O_PATH | O_CLOEXEC);
}

int fusecopy_may_open_handles(int root)
{
	const struct fusecopy_device device = { .anchor = root };
	struct file_handle *handle = fusecopy_handle(root);
	int fd = handle ? fusecopy_open_handle(&device, handle) : -1;

	free(handle);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}
