/* One entry of a tree: open it, make its like elsewhere, give that the same attributes. */

#include "tree.h"

#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#define FC_ACTING_BITS (S_ISUID | S_ISGID)
#define FC_ACL "system.posix_acl_"
#define FC_PROC_PATH 40

int fc_describe(int fd, struct fc_entry *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*e = (struct fc_entry){
		.device = st.st_dev,
		.ino = st.st_ino,
		.links = st.st_nlink,
		.size = st.st_size,
		.rdev = st.st_rdev,
		.mode = st.st_mode,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.atime_s = st.st_atim.tv_sec,
		.atime_ns = st.st_atim.tv_nsec,
		.mtime_s = st.st_mtim.tv_sec,
		.mtime_ns = st.st_mtim.tv_nsec,
	};
	return 0;
}

/* Opens `path` below `directory` and describes it. EXDEV where a mount point would be crossed. */
int fc_open_entry(int directory, const char *path, int flags, struct fc_entry *e)
{
	struct open_how how = {
		.flags = flags | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	int fd = syscall(SYS_openat2, directory, path, &how, sizeof how);
	int error;

	if (fd < 0)
		return -errno;
	error = fc_describe(fd, e);
	if (error < 0) {
		close(fd);
		return error;
	}
	return fd;
}

/* btrfs shares between files only that are alike in No_COW, which can be changed while a file is empty (fs/btrfs/
 * reflink.c and ioctl.c, Linux 6.1 to 7.2). True where they were not, and are now. */
static bool fc_take_nocow(int source, int destination)
{
	uint32_t from, to;
	unsigned int word;

	if (fc_inode_flags(source, &from) < 0 || fc_inode_flags(destination, &to) < 0 || !((from ^ to) & FS_NOCOW_FL))
		return false;
	word = to ^ FS_NOCOW_FL;
	return ioctl(destination, FS_IOC_SETFLAGS, &word) == 0;
}

/* A new empty file for the entry, for its owner alone where it will get attributes that need to be written.
 * With `clone` the source's data is cloned into it whole: `*cloned` is 0 or the errno of that. */
int fc_create_file(int source, int directory, const char *name, const struct fc_entry *e, int clone, int *cloned)
{
	int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			(e->mode & ACCESSPERMS) | S_IWUSR);

	if (fd < 0)
		return -errno;
	*cloned = clone ? -fc_clone_range(source, 0, 0, fd, 0) : 0;
	if (*cloned == EINVAL && fc_take_nocow(source, fd))
		*cloned = -fc_clone_range(source, 0, 0, fd, 0);
	return fd;
}

/* What cannot be kept by this thread, or not on this filesystem, is left out, as cp -a does. */
static bool fc_left_out(int error)
{
	return error == EPERM || error == ENOTSUP;
}

static int fc_copy_xattr(const char *from, const char *to, const char *name)
{
	char *value = malloc(XATTR_SIZE_MAX);
	ssize_t size;
	int error = 0;

	if (!value)
		return -ENOMEM;
	size = getxattr(from, name, value, XATTR_SIZE_MAX);
	/* ENODATA: it was removed meanwhile. */
	if (size < 0 ? errno != ENODATA : setxattr(to, name, value, size, 0) < 0)
		error = fc_left_out(errno) ? 0 : -errno;
	free(value);
	return error;
}

/* Copies those of the `size` bytes of names that are ACLs, or those that are not. */
static int fc_copy_xattrs(const char *from, const char *to, const char *names, ssize_t size, bool acls)
{
	const char *name;
	int error;

	for (name = names; name < names + size; name += strlen(name) + 1) {
		if (acls != !strncmp(name, FC_ACL, sizeof FC_ACL - 1))
			continue;
		error = fc_copy_xattr(from, to, name);
		if (error < 0)
			return error;
	}
	return 0;
}

/* Returns the bits of the mode that may be kept. An owner that cannot be kept becomes the caller, the group
 * is kept if it can be, and the setuid and setgid bits go. */
static int fc_copy_owner(int destination, const struct fc_entry *e, const struct stat *now)
{
	if (now->st_uid == e->uid && now->st_gid == e->gid)
		return ALLPERMS;
	if (fchownat(destination, "", e->uid, e->gid, AT_EMPTY_PATH) == 0)
		return ALLPERMS;
	if (errno != EPERM)
		return -errno;
	if (fchownat(destination, "", -1, e->gid, AT_EMPTY_PATH) < 0 && errno != EPERM)
		return -errno;
	return ALLPERMS & ~FC_ACTING_BITS;
}

/* Owner, extended attributes, mode, ACLs, times, in this order: a new owner takes setuid bits and capabilities
 * away, user attributes want the right to write, ACLs have the last word on the mode, and all of them touch
 * times. Both descriptors may be O_PATH; `now` is what the destination is. */
int fc_give_attributes(int source, int destination, const struct fc_entry *e, const struct stat *now)
{
	char from[FC_PROC_PATH], to[FC_PROC_PATH], names[XATTR_LIST_MAX];
	struct timespec times[2] = { { e->atime_s, e->atime_ns }, { e->mtime_s, e->mtime_ns } };
	ssize_t size;
	int kept, error;

	snprintf(from, sizeof from, "/proc/self/fd/%d", source);
	snprintf(to, sizeof to, "/proc/self/fd/%d", destination);
	kept = fc_copy_owner(destination, e, now);
	if (kept < 0)
		return kept;
	size = flistxattr(source, names, sizeof names);
	if (size < 0 && errno == EBADF)
		size = listxattr(from, names, sizeof names);
	if (size < 0 && errno != ENOTSUP)
		return -errno;
	error = fc_copy_xattrs(from, to, names, size, false);
	if (error < 0)
		return error;
	/* The owner's change may have taken bits away, so the mode seen before it does not count. */
	if (!S_ISLNK(e->mode) &&
	    ((now->st_mode ^ e->mode) & ALLPERMS || now->st_uid != e->uid || now->st_gid != e->gid))
		if (chmod(to, e->mode & kept) < 0)
			return -errno;
	error = fc_copy_xattrs(from, to, names, size, true);
	if (error < 0)
		return error;
	return utimensat(destination, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

int fc_copy_attributes(int source, int destination, const struct fc_entry *e)
{
	struct stat now;

	return fstat(destination, &now) < 0 ? -errno : fc_give_attributes(source, destination, e, &now);
}

/* A new directory beneath must not inherit ACLs that its source does not have. */
int fc_drop_acls(int fd)
{
	if (fremovexattr(fd, FC_ACL "access") < 0 && errno != ENODATA && errno != ENOTSUP)
		return -errno;
	if (fremovexattr(fd, FC_ACL "default") < 0 && errno != ENODATA && errno != ENOTSUP)
		return -errno;
	return 0;
}
