/*
 * How the backing is watched: root by one mark for each filesystem, others by one for each directory that the kernel
 * is told of, and for each file with several names, which may be changed by one elsewhere. overlayfs, whose handles
 * cannot be opened, takes marks of directories only, from root too.
 */

#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

/* In no header of Debian 12's: a handle that tells files apart and cannot be opened, since Linux 6.5. */
#define HANDLE_FID 0x200

#define CHANGES (FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE)
#define NAMES (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ONDIR)

/* Of all marks such a part is given up at once. */
#define GIVEN_UP 8

/* With more of them, what is below the last goes unseen. */
#define DEVICES 64

/* What is below one st_dev, and how it is watched. */
struct device {
	dev_t number;
	enum { WHOLE, BY_DIRECTORY, UNSEEN } how;
	int group;
	fsid_t fsid;				 /* what its events carry */
	unsigned char uuid[FUSECOPY_UUID_BYTES]; /* of a btrfs */
};

/* Devices are only added, under the lock, and counted when they are complete; so they are found without it. */
static pthread_mutex_t marking = PTHREAD_MUTEX_INITIALIZER;
static struct device devices[DEVICES];
static int device_count;

/* The first is for whole filesystems; each device watched by directories has one of its own, because one group cannot
 * hold such marks of two btrfs subvolumes (EXDEV). */
static int groups[DEVICES + 1];
static int group_count;

static uint64_t most_marks;
static int has_no_fids;

/* Filesystems that others change on other machines, or in processes, of which this kernel hears nothing. */
static const unsigned long unseen[] = {
	NFS_SUPER_MAGIC,   SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC,	    SMB2_SUPER_MAGIC,
	CEPH_SUPER_MAGIC,  V9FS_MAGIC,	     AFS_SUPER_MAGIC,	    CODA_SUPER_MAGIC,
	OCFS2_SUPER_MAGIC, FUSE_SUPER_MAGIC, 0x01161970 /* GFS2 */, 0x0bd00bd0 /* Lustre */,
};

/* ---- groups and marks ---------------------------------------------------------------------------------- */

static int new_group(void)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME_TARGET, O_RDONLY);

	if (fd < 0)
		return -errno;
	fusecopy_watch_wake_by(fd);
	groups[group_count] = fd;
	__atomic_store_n(&group_count, group_count + 1, __ATOMIC_SEQ_CST);
	return fd;
}

int fusecopy_watch_groups(const int **all)
{
	*all = groups;
	return __atomic_load_n(&group_count, __ATOMIC_SEQ_CST);
}

int fusecopy_marks_begin(uint64_t most)
{
	int fd = new_group();

	most_marks = most;
	return fd < 0 ? fd : 0;
}

static int noted(int error)
{
	if (error)
		__atomic_store_n(&fusecopy_get_watch()->error, -error, __ATOMIC_RELAXED);
	return error;
}

/* By way of /proc, because O_PATH descriptors are not taken. */
static int mark_descriptor(int group, unsigned int flags, uint64_t mask, int descriptor)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
	return fanotify_mark(group, flags, mask, AT_FDCWD, path) < 0 ? -errno : 0;
}

/* Of a file with several names, or of a directory with what is in it. Where there are too many marks, those of others
 * make room. */
static int mark_one(const struct device *device, int descriptor, const struct stat *st)
{
	uint64_t mask = S_ISDIR(st->st_mode) ? CHANGES | NAMES | FAN_EVENT_ON_CHILD : CHANGES;
	size_t part = most_marks / GIVEN_UP + 1;
	int error;

	if (__atomic_load_n(&fusecopy_get_watch()->marks, __ATOMIC_RELAXED) >= most_marks) {
		noted(-ENOSPC);
		fusecopy_give_up_marks(part);
	}
	error = mark_descriptor(device->group, FAN_MARK_ADD, mask, descriptor);
	if (error == -ENOSPC) {
		noted(error);
		fusecopy_give_up_marks(part);
		error = mark_descriptor(device->group, FAN_MARK_ADD, mask, descriptor);
	}
	return noted(error);
}

static int needs_mark(const struct device *device, const struct stat *st)
{
	return device->how == BY_DIRECTORY && (S_ISDIR(st->st_mode) || st->st_nlink > 1);
}

void fusecopy_unmark(int descriptor)
{
	struct stat st;
	uint64_t mask = CHANGES | NAMES | FAN_EVENT_ON_CHILD;

	if (descriptor < 0 || fstat(descriptor, &st) < 0)
		return; /* the file takes its mark with it */
	for (int n = 0; n < __atomic_load_n(&device_count, __ATOMIC_SEQ_CST); n++)
		if (devices[n].number == st.st_dev)
			mark_descriptor(devices[n].group, FAN_MARK_REMOVE, mask, descriptor);
}

/* ---- filesystems --------------------------------------------------------------------------------------- */

/* Another subvolume of a filesystem that is marked. */
static const struct device *same_btrfs(const struct device *device)
{
	for (int n = 0; n < device_count; n++)
		if (devices[n].how == WHOLE && memcmp(devices[n].uuid, device->uuid, sizeof(device->uuid)) == 0)
			return &devices[n];
	return NULL;
}

static int mark_filesystem(int descriptor)
{
	return mark_descriptor(groups[0], FAN_MARK_ADD | FAN_MARK_FILESYSTEM, CHANGES | NAMES, descriptor);
}

static int mark_btrfs(struct device *device, int descriptor)
{
	const struct device *other;
	struct statfs fs;
	int fd, error = fusecopy_btrfs_uuid(descriptor, device->uuid);

	if (error)
		return error;
	other = same_btrfs(device);
	if (other) {
		device->fsid = other->fsid;
		return 0;
	}
	fd = fusecopy_btrfs_top_level(descriptor);
	if (fd < 0)
		return fd;
	error = mark_filesystem(fd);
	if (!error && fstatfs(fd, &fs) == 0)
		device->fsid = fs.f_fsid;
	close(fd);
	return error;
}

static int is_unseen(unsigned long type)
{
	for (size_t n = 0; n < sizeof(unseen) / sizeof(*unseen); n++)
		if (unseen[n] == (type & 0xffffffff))
			return 1;
	return 0;
}

/* Each filesystem that has marks of its own kind takes one of the whole, from root; where that fails, it is watched by
 * directories, and only where those are refused, too, not at all. */
static void choose(struct device *device, int descriptor, const struct stat *st)
{
	struct statfs fs;
	int error;

	device->how = UNSEEN;
	if (fstatfs(descriptor, &fs) < 0 || is_unseen(fs.f_type)) {
		noted(-EOPNOTSUPP);
		return;
	}
	device->fsid = fs.f_fsid;
	error = fs.f_type == BTRFS_SUPER_MAGIC ? mark_btrfs(device, descriptor) : mark_filesystem(descriptor);
	if (!error) {
		device->how = WHOLE;
		return;
	}
	device->fsid = fs.f_fsid;
	device->group = new_group();
	error = device->group < 0 ? device->group : mark_one(device, descriptor, st);
	if (noted(error) == 0 || error == -EACCES)
		device->how = BY_DIRECTORY;
}

static const struct device *find_device(dev_t number)
{
	int count = __atomic_load_n(&device_count, __ATOMIC_SEQ_CST);

	for (int n = 0; n < count; n++)
		if (devices[n].number == number)
			return &devices[n];
	return NULL;
}

/* The device of a file, which is watched from now on; `is_new` says whether it was not before. */
static const struct device *watch_device(int descriptor, const struct stat *st, int *is_new)
{
	const struct device *device = find_device(st->st_dev);
	struct device *added;

	*is_new = 0;
	if (device)
		return device;
	pthread_mutex_lock(&marking);
	device = find_device(st->st_dev);
	if (!device && device_count < DEVICES) {
		added = &devices[device_count];
		added->number = st->st_dev;
		choose(added, descriptor, st);
		__atomic_store_n(&device_count, device_count + 1, __ATOMIC_SEQ_CST);
		*is_new = 1;
		device = added;
	}
	pthread_mutex_unlock(&marking);
	return device;
}

/* ---- handles ------------------------------------------------------------------------------------------- */

static uint64_t mixed(uint64_t hash, uint64_t value)
{
	hash = (hash ^ value) * 0xff51afd7ed558ccd;
	return hash ^ hash >> 32;
}

struct fusecopy_key fusecopy_key_of(const void *fsid, const void *handle)
{
	const struct file_handle *h = handle;
	struct fusecopy_key key = { .low = 1 };
	uint64_t value;

	memcpy(&value, fsid, sizeof(value));
	key.low = mixed(key.low, value);
	key.high = mixed((uint64_t)h->handle_type << 32 | h->handle_bytes, value);
	for (size_t n = 0; n < h->handle_bytes; n += sizeof(value)) {
		value = 0;
		memcpy(&value, h->f_handle + n,
		       h->handle_bytes - n < sizeof(value) ? h->handle_bytes - n : sizeof(value));
		key.low = mixed(key.low, value);
		key.high = mixed(key.high, ~value);
	}
	return key;
}

static int handle_of(int descriptor, struct file_handle *handle)
{
	int mount, result = -1;

	handle->handle_bytes = MAX_HANDLE_SZ;
	if (!has_no_fids)
		result = name_to_handle_at(descriptor, "", handle, &mount, AT_EMPTY_PATH | HANDLE_FID);
	if (result < 0 && (has_no_fids || errno == EINVAL)) {
		has_no_fids = 1;
		handle->handle_bytes = MAX_HANDLE_SZ;
		result = name_to_handle_at(descriptor, "", handle, &mount, AT_EMPTY_PATH);
	}
	return result;
}

static int key_of(const struct device *device, int descriptor, struct fusecopy_key *key)
{
	union {
		struct file_handle handle;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} of;

	if (handle_of(descriptor, &of.handle) < 0)
		return 0;
	*key = fusecopy_key_of(&device->fsid, &of.handle);
	return 1;
}

int fusecopy_watch_before(int descriptor, const struct stat *st)
{
	const struct device *device;
	struct fusecopy_key key;
	int is_new, is_marked = 0;

	if (!fusecopy_get_watch()->watches)
		return 0;
	device = watch_device(descriptor, st, &is_new);
	if (!device || device->how != BY_DIRECTORY)
		return is_new;
	if (needs_mark(device, st))
		is_marked = mark_one(device, descriptor, st) == 0;
	if (__atomic_load_n(&fusecopy_get_watch()->blind, __ATOMIC_RELAXED) && key_of(device, descriptor, &key))
		fusecopy_see_again(key, is_marked);
	return is_new || is_marked;
}

struct fusecopy_mark fusecopy_mark(int descriptor)
{
	struct fusecopy_mark mark = { .is_blind = 1 };
	const struct device *device;
	struct stat st;
	int is_new;

	if (fstat(descriptor, &st) < 0)
		return mark;
	device = watch_device(descriptor, &st, &is_new);
	if (!device || device->how == UNSEEN || !key_of(device, descriptor, &mark.key))
		return mark;
	mark.is_blind = 0;
	if (needs_mark(device, &st))
		mark.is_blind = !(mark.has_mark = mark_one(device, descriptor, &st) == 0);
	else
		mark.follows_parent = device->how == BY_DIRECTORY;
	return mark;
}
