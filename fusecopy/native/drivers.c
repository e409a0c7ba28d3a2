/*
 * What drives a READ or WRITE: the system call that the waiting thread is in, and which file that call reads from.
 *
 * The file is told by what it is, st_dev and st_ino, because the text of its link in /proc depends on who looks: it
 * is another one through a bind mount, in a chroot, in another mount namespace, after a rename of what lies above,
 * and of a file without a name.
 */

#include "drivers.h"

#include "callers.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* include/linux/sched.h; in field 9 of /proc/PID/stat. */
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000

/* How often a thread that runs is looked at again: some 100 us in all. */
#define LOOKS 20

/* Of a thread that waits in a page fault /proc/PID/syscall tells no call. */
#define PAGE_FAULT (-1)

static const struct {
	long number;
	int kind;
	int source; /* which argument, from 1, is the descriptor that it reads from; 0: none that says what was written
		     */
} calls[] = {
	{ SYS_copy_file_range, FUSECOPY_COPYING, 1 }, { SYS_sendfile, FUSECOPY_SENDING, 2 },
	{ SYS_splice, FUSECOPY_SPLICING, 1 },	      { SYS_read, FUSECOPY_READING, 0 },
	{ SYS_pread64, FUSECOPY_READING, 0 },	      { SYS_readv, FUSECOPY_READING, 0 },
	{ SYS_preadv, FUSECOPY_READING, 0 },	      { SYS_preadv2, FUSECOPY_READING, 0 },
	{ SYS_write, FUSECOPY_WRITING, 0 },	      { SYS_pwrite64, FUSECOPY_WRITING, 0 },
	{ SYS_writev, FUSECOPY_WRITING, 0 },	      { SYS_pwritev, FUSECOPY_WRITING, 0 },
	{ SYS_pwritev2, FUSECOPY_WRITING, 0 },	      { PAGE_FAULT, FUSECOPY_MAPPED, 0 },
};

/* A file of a thread in /proc as text; 0, or a negative errno. */
static int read_text(pid_t thread, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)thread, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, size - 1);
	if (length < 0)
		length = -errno;
	close(fd);
	text[length < 0 ? 0 : length] = '\0';
	return length < 0 ? (int)length : 0;
}

/* Of 32-bit programs on x86-64 and arm64. */
#define COMPAT_IOCTL 54

int fusecopy_in_ioctl(pid_t thread)
{
	char text[512], *end;
	long number;

	if (thread <= 0 || read_text(thread, "syscall", text, sizeof(text)) != 0)
		return 0;
	number = strtol(text, &end, 10);
	return end != text && (number == SYS_ioctl || number == COMPAT_IOCTL);
}

/* The PF_ flags of a thread; 0 where they are not known. The name before them may have any character. */
static unsigned long flags_of(pid_t thread)
{
	char text[512], *after;
	unsigned long flags = 0;

	if (read_text(thread, "stat", text, sizeof(text)) == 0 && (after = strrchr(text, ')')))
		sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %lu", &flags);
	return flags;
}

/* What is asked is what the kernel knows already (AT_STATX_DONT_SYNC): the file may be one of this very mount, whose
 * answer would be ours to give, or of a server that is gone. */
void fusecopy_find_source(pid_t thread, unsigned int descriptor, struct fusecopy_driver *driver)
{
	char link[64];
	struct statx st;
	ssize_t size;

	snprintf(link, sizeof(link), "/proc/%d/fd/%u", (int)thread, descriptor);
	if (statx(AT_FDCWD, link, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0 || !S_ISREG(st.stx_mode))
		return;
	size = readlink(link, driver->path, sizeof(driver->path));
	driver->has_source = 1;
	driver->device = makedev(st.stx_dev_major, st.stx_dev_minor);
	driver->ino = st.stx_ino;
	driver->size = st.stx_size;
	driver->path_size = size < 0 ? 0 : size;
}

/* A thread that has just asked may not have gone to sleep yet, and then its call is not told. It is about to, unless it
 * asked for something that it does not wait for. */
static int read_call(pid_t thread, char *text, size_t size)
{
	int error = read_text(thread, "syscall", text, size);

	for (int again = 0; again < LOOKS && !error && strncmp(text, "running", 7) == 0; again++) {
		sched_yield();
		error = read_text(thread, "syscall", text, size);
	}
	return error;
}

void fusecopy_look(pid_t thread, struct fusecopy_driver *driver)
{
	char text[512], *words = text, *end;
	unsigned long flags = fusecopy_sees_threads() && thread > 0 ? flags_of(thread) : 0;
	long number, arguments[3] = { 0 };
	int error;

	memset(driver, 0, offsetof(struct fusecopy_driver, path));
	if (flags & PF_KTHREAD)
		driver->kind = FUSECOPY_KERNEL; /* /proc/PID/syscall would say 0, which is read(2) */
	if (flags == 0 || flags & (PF_KTHREAD | PF_IO_WORKER))
		return;
	error = read_call(thread, text, sizeof(text));
	if (error == -EPERM || error == -EACCES)
		driver->kind = FUSECOPY_HIDDEN;
	number = strtol(text, &end, 10);
	if (error || end == text) /* "running" still */
		return;
	for (int i = 1; i < 3; i++) {
		words = end;
		arguments[i] = strtoul(words, &end, 16);
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (calls[i].number != number)
			continue;
		driver->kind = calls[i].kind;
		if (calls[i].source)
			fusecopy_find_source(thread, arguments[calls[i].source], driver);
	}
}
