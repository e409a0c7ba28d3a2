/*
 * OPEN, CREATE and MKDIR, answered here where Python has nothing to decide. What fails for lack of room or of
 * descriptors is left to it: there may be more for some, or after some were closed.
 */

#include "opening.h"

#include "asking.h"
#include "borrowing.h"
#include "files.h"
#include "fuse.h"
#include "inodes.h"
#include "names.h"
#include "replies.h"
#include "request.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define OPEN_FLAGS (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC | O_NOATIME)
#define CREATE_FLAGS (O_ACCMODE | O_EXCL | O_SYNC | O_DSYNC | O_NOATIME)

static struct fusecopy_opening how;

struct fusecopy_opening *fusecopy_get_opening(void)
{
	return &how;
}

/* ---- system calls ------------------------------------------------------------------------------------- */

static int result(int value)
{
	return value < 0 ? -errno : value;
}

/* Opens what a descriptor leads to once more. */
static int reopen(int descriptor, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", descriptor);
	return result(open(path, flags));
}

int fusecopy_open_regular(int descriptor, int wanted)
{
	const int flags = (wanted & OPEN_FLAGS) | (how.noatime ? O_NOATIME : 0) | O_CLOEXEC;
	struct stat st;
	int fd;

	if (fstat(descriptor, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	fd = reopen(descriptor, flags & ~O_APPEND);
	if (fd == -EPERM && flags & O_NOATIME)
		fd = reopen(descriptor, flags & ~(O_NOATIME | O_APPEND));
	if (fd == -EPERM && flags & O_APPEND)
		fd = reopen(descriptor, flags & ~O_NOATIME);
	return fd;
}

/* unshare(2) takes no rights for that. */
int fusecopy_umask(unsigned int mask)
{
	static __thread int apart;

	if (!apart && unshare(CLONE_FS) < 0)
		return -errno;
	apart = 1;
	umask(mask);
	return 0;
}

int fusecopy_create(int directory, const char *name, int wanted, unsigned int mode, unsigned int mask, int *found)
{
	const int flags = (wanted & CREATE_FLAGS) | O_CLOEXEC | (name ? O_CREAT | O_EXCL : O_TMPFILE);
	int fd, spare, error = fusecopy_umask(mask);

	if (error < 0)
		return error;
	/* Of two descriptors the second may not be had: then nothing is created, and it may be tried again. */
	spare = result(fcntl(directory, F_DUPFD_CLOEXEC, 0));
	if (spare < 0)
		return spare;
	fd = result(openat(directory, name ? name : ".", flags, mode));
	close(spare);
	if (fd == -EEXIST && !(wanted & O_EXCL))
		return -ESTALE;
	if (fd < 0)
		return fd;
	*found = reopen(fd, O_PATH | O_CLOEXEC);
	if (*found < 0)
		close(fd);
	return *found < 0 ? *found : fd;
}

/* ---- open files --------------------------------------------------------------------------------------- */

/* Whether the backing may give room by the writer's user id (data.c); what is not known not to, may: these keep no
 * blocks for some user (Linux 6.1 to 7.2). */
static int asks_writer(int fd, uint64_t device)
{
	struct statfs fs = { .f_type = how.filesystem };

	if (!how.is_root || (device != how.device && fstatfs(fd, &fs) < 0))
		return how.is_root;
	return fs.f_type != BTRFS_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC && fs.f_type != TMPFS_MAGIC;
}

struct fusecopy_file *fusecopy_opened(int fd, struct fusecopy_inode *inode, int flags, uid_t uid, pid_t thread)
{
	struct fusecopy_file *file = fusecopy_new_file(fd, inode);

	if (!file)
		return NULL;
	file->asks_writer = asks_writer(fd, inode->device);
	file->only_appends = flags & O_APPEND && fcntl(fd, F_GETFL) & O_APPEND;
	file->is_writable = (flags & O_ACCMODE) != O_RDONLY;
	file->uid = uid;
	file->thread = thread;
	file->opened_ns = fusecopy_now_ns();
	if (file->is_writable)
		file->asker = fusecopy_asker(thread);
	file->tells_others = file->is_writable && (file->asker || how.traces_ioctls);
	return file;
}

/* A file's cached pages are dropped when it is opened again, unless they are asked to be kept: its reads would not be
 * seen. Who keeps pages and is read by the kernel itself gets EIO (fs/fuse/iomode.c, Linux 6.9 to 7.2). */
void fusecopy_describe(const struct fusecopy_file *file, struct fusecopy_opened *opened)
{
	*opened = (struct fusecopy_opened){
		.fh = (uintptr_t)file,
		.keep_cache = how.keep_cache && !file->unseen && !fusecopy_watch_is_suspect(file->inode->number),
		.noflush = how.noflush && file->device == how.device,
	};
}

/* ---- requests ----------------------------------------------------------------------------------------- */

int fusecopy_is_for_server(const struct fusecopy_request *request)
{
	return !how.is_root || (request->header->uid == how.uid && request->header->gid == how.gid);
}

int fusecopy_answer_unless_short(struct fusecopy_request *request, int error)
{
	if (error == -ENOSPC || error == -EDQUOT || error == -EMFILE || error == -ENFILE)
		return FUSECOPY_LEFT;
	fusecopy_reply_error(request, -error);
	return FUSECOPY_ANSWERED;
}

int fusecopy_answer_open(struct fusecopy_request *request)
{
	const struct fuse_open_in *in = request->arguments;
	struct fusecopy_inode *inode = how.passthrough ? NULL : fusecopy_borrow(request->header->nodeid);
	struct fusecopy_file *file;
	struct fusecopy_opened opened;
	int fd;

	if (!inode)
		return FUSECOPY_LEFT;
	fd = fusecopy_open_regular(inode->descriptor, in->flags);
	file = fd < 0 ? NULL : fusecopy_opened(fd, inode, in->flags, request->header->uid, (pid_t)request->header->pid);
	fusecopy_give_back(inode);
	if (file) {
		fusecopy_describe(file, &opened);
		fusecopy_reply_open(request, &opened);
		return FUSECOPY_ANSWERED;
	}
	if (fd < 0)
		return fusecopy_answer_unless_short(request, fd);
	close(fd);
	return FUSECOPY_LEFT;
}

/* It is created: tell the kernel of it. */
static void reply_created(struct fusecopy_request *request, struct fusecopy_inode *directory, int fd, int found)
{
	const struct fuse_create_in *in = request->arguments;
	struct fusecopy_entry entry;
	struct fusecopy_inode *inode = NULL;
	struct fusecopy_file *file;
	struct fusecopy_opened opened;
	int error = fusecopy_enter_entry(found, directory, request->payload, &entry, &inode);

	file = error < 0 ? NULL
			 : fusecopy_opened(fd, inode, in->flags, request->header->uid, (pid_t)request->header->pid);
	if (!file) {
		close(fd);
		if (inode)
			fusecopy_forget(inode->number, 1);
		fusecopy_reply_error(request, error < 0 ? -error : ENOMEM);
		return;
	}
	fusecopy_describe(file, &opened);
	fusecopy_reply_create(request, &entry, &opened);
}

int fusecopy_answer_create(struct fusecopy_request *request)
{
	const struct fuse_create_in *in = request->arguments;
	const char *name = request->payload;
	struct fusecopy_inode *directory = NULL;
	int answer = FUSECOPY_ANSWERED, fd, found;

	if (!how.passthrough && fusecopy_is_for_server(request) && !fusecopy_is_dots(name))
		directory = fusecopy_borrow(request->header->nodeid);
	if (!directory)
		return FUSECOPY_LEFT;
	fd = fusecopy_create(directory->descriptor, name, in->flags, in->mode, in->umask, &found);
	if (fd < 0)
		answer = fusecopy_answer_unless_short(request, fd);
	else
		reply_created(request, directory, fd, found);
	fusecopy_give_back(directory);
	return answer;
}

static int make_directory(int directory, const char *name, unsigned int mode, unsigned int mask)
{
	int spare, error = fusecopy_umask(mask);

	if (error < 0)
		return error;
	/* As above: it will be opened. */
	spare = result(fcntl(directory, F_DUPFD_CLOEXEC, 0));
	if (spare < 0)
		return spare;
	error = result(mkdirat(directory, name, mode & 07777));
	close(spare);
	return error;
}

int fusecopy_answer_mkdir(struct fusecopy_request *request)
{
	const struct fuse_mkdir_in *in = request->arguments;
	const char *name = request->payload;
	struct fusecopy_inode *directory = NULL;
	struct fusecopy_entry entry;
	int answer = FUSECOPY_ANSWERED, error;

	if (fusecopy_is_for_server(request) && !fusecopy_is_dots(name))
		directory = fusecopy_borrow(request->header->nodeid);
	if (!directory)
		return FUSECOPY_LEFT;
	error = make_directory(directory->descriptor, name, in->mode, in->umask);
	if (error < 0) {
		answer = fusecopy_answer_unless_short(request, error);
	} else {
		error = fusecopy_look_up(directory, name, &entry);
		if (error < 0)
			fusecopy_reply_error(request, -error);
		else
			fusecopy_reply_entry(request, &entry);
	}
	fusecopy_give_back(directory);
	return answer;
}
