/* The filesystems that a backing directory is made of (devices.c). */

#ifndef FUSECOPY_DEVICES_H
#define FUSECOPY_DEVICES_H

#include <stdint.h>

struct file_handle;

/* A file handle is no larger (linux/exportfs.h). */
#define FUSECOPY_HANDLE_BYTES 128

struct fusecopy_device {
	uint64_t number; /* st_dev */
	uint64_t first;	 /* added to its inode numbers: files of further filesystems would collide with the first's */
	int anchor;	 /* a directory of it held open, which open_by_handle_at(2) wants, or -1 */
	struct fusecopy_device *next;
};

/* That of the backing's root, before any other; that of the file open as `descriptor`, which has this st_dev. NULL
 * without memory. */
struct fusecopy_device *fusecopy_first_device(uint64_t number, int root);
struct fusecopy_device *fusecopy_device_of(uint64_t number, int descriptor);

/* At the end, all anchors are closed but the root. */
void fusecopy_forget_devices(int root);

/* What the kernel calls a file: the backing's own number where possible; the one to try when a number is taken. */
uint64_t fusecopy_usual_number(const struct fusecopy_device *device, uint64_t ino);
uint64_t fusecopy_next_number(uint64_t number);

/* Have it anchored, if the file open as `descriptor` is a directory that may be read. */
void fusecopy_anchor(struct fusecopy_device *device, int descriptor);

/* What identifies the file behind a descriptor for as long as it exists, and no other after it, for free(3); NULL where
 * its filesystem has no such handles. */
struct file_handle *fusecopy_handle(int descriptor);
/* The mount that it was opened by; 0 where that is not told (before Linux 5.8). Waits for nothing. */
uint64_t fusecopy_mount_of(int descriptor);

int fusecopy_is_same_handle(const struct file_handle *one, const struct file_handle *other);

/* Open by it with O_PATH, which takes CAP_DAC_READ_SEARCH; -1 and errno, ESTALE where the file is gone. */
int fusecopy_open_handle(const struct fusecopy_device *device, const struct file_handle *handle);

/* Whether this process and this filesystem allow that: tried, not guessed. */
int fusecopy_may_open_handles(int root);

#endif
