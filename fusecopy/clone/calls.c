/* What a supervisor does with its notifications. */

#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PIDFD_THREAD O_EXCL

static int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

int fusecopy_receive(int listener, struct fusecopy_call *call)
{
	struct seccomp_notif notification;

	memset(&notification, 0, sizeof(notification));
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0)
		return -errno;
	call->id = notification.id;
	call->thread = notification.pid;
	call->number = notification.data.nr;
	memcpy(call->given, notification.data.args, sizeof(call->given));
	return 0;
}

int fusecopy_valid(int listener, uint64_t id)
{
	return result(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id));
}

static int respond(int listener, struct seccomp_notif_resp response)
{
	return result(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response));
}

int fusecopy_refuse(int listener, uint64_t id, int error)
{
	return respond(listener, (struct seccomp_notif_resp){ .id = id, .error = -error });
}

int fusecopy_answer(int listener, uint64_t id, int64_t count)
{
	return respond(listener, (struct seccomp_notif_resp){ .id = id, .val = count });
}

/* The kernel carries the call out as if there were no filter, and checks everything itself. */
int fusecopy_continue(int listener, uint64_t id)
{
	return respond(listener, (struct seccomp_notif_resp){ .id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE });
}

/* A thread has a pidfd of its own from Linux 6.9 on. Before, the process's serves if the two share their
 * descriptors, as threads do that have not called unshare(2). */
int fusecopy_pidfd(int thread, int process)
{
	int pidfd = result(syscall(SYS_pidfd_open, thread, PIDFD_THREAD));

	if (pidfd != -EINVAL)
		return pidfd;
	if (thread != process && syscall(SYS_kcmp, thread, process, KCMP_FILES, 0, 0) != 0)
		return -EOPNOTSUPP;
	return result(syscall(SYS_pidfd_open, process, 0));
}

/* The caller's open file as a descriptor of ours, and what it is: without a request to the server, because
 * neither its type nor its device can have changed. */
int fusecopy_take(int pidfd, int fd, struct fusecopy_taken *file)
{
	struct statx st;
	int taken = result(syscall(SYS_pidfd_getfd, pidfd, fd, 0));

	if (taken < 0)
		return taken;
	file->flags = fcntl(taken, F_GETFL);
	if (statx(taken, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0) {
		close(taken);
		return -EIO;
	}
	file->device = makedev(st.stx_dev_major, st.stx_dev_minor);
	file->mode = st.stx_mode;
	return taken;
}

int fusecopy_write_back(int fd)
{
	unsigned int how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

	return result(sync_file_range(fd, 0, 0, how));
}

int fusecopy_ioctl(int fd, unsigned long number, char *argument)
{
	return result(ioctl(fd, number, argument));
}
