/*
 * btrfs's subvolumes take no mark of their filesystem (EXDEV), its top level does: it is mounted for nobody to see,
 * marked, and let go; the mark is the superblock's.
 */

#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <linux/btrfs.h>

/* To ask takes a descriptor that is no O_PATH one. */
static int open_directory(int descriptor)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int fusecopy_btrfs_uuid(int descriptor, unsigned char *uuid)
{
	struct btrfs_ioctl_fs_info_args fs = { .flags = 0 };
	int fd = open_directory(descriptor);
	int result = fd < 0 || ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	memcpy(uuid, fs.fsid, FUSECOPY_UUID_BYTES);
	return result;
}

/* The path of one of the disks it is on. */
static int find_disk(int descriptor, struct btrfs_ioctl_dev_info_args *disk)
{
	struct btrfs_ioctl_fs_info_args fs = { .flags = 0 };
	int fd = open_directory(descriptor), result = -ENODEV;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0)
		fs.max_id = 0;
	for (uint64_t id = 1; id <= fs.max_id && result < 0; id++) {
		*disk = (struct btrfs_ioctl_dev_info_args){ .devid = id };
		if (ioctl(fd, BTRFS_IOC_DEV_INFO, disk) == 0)
			result = 0;
	}
	close(fd);
	return result;
}

static int mount_top_level(const char *disk, int read_only)
{
	int context = fsopen("btrfs", FSOPEN_CLOEXEC), fd = -1;

	if (context < 0)
		return -errno;
	if (fsconfig(context, FSCONFIG_SET_STRING, "source", disk, 0) == 0 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "subvolid", "5", 0) == 0 &&
	    (!read_only || fsconfig(context, FSCONFIG_SET_FLAG, "ro", NULL, 0) == 0) &&
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(context, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		fd = -errno;
	close(context);
	return fd;
}

int fusecopy_btrfs_top_level(int descriptor)
{
	struct btrfs_ioctl_dev_info_args disk;
	int fd = find_disk(descriptor, &disk);

	if (fd == 0)
		fd = mount_top_level((const char *)disk.path, 0);
	/* A filesystem is mounted read-only by all or by none. */
	return fd == -EBUSY ? mount_top_level((const char *)disk.path, 1) : fd;
}
