/* The filters, as seccomp(2) and bpf(4) have them. */

#include "filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* COMPAT: 32-bit programs, whose ioctl(2) has the same number, 54, on both machines that have them. Arguments
 * come as 64 bits, and the structs of the four ioctls are laid out alike. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#define NATIVE_ARCH 0 /* the filters below read the low half of an argument in its first place */
#elif defined(__x86_64__) && !defined(__ILP32__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define COMPAT_ARCH AUDIT_ARCH_I386
#define COMPAT(number) (number)
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#define COMPAT_ARCH AUDIT_ARCH_ARM
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__)
#define NATIVE_ARCH AUDIT_ARCH_PPC64LE
#else
#define NATIVE_ARCH 0 /* no filter for this machine */
#endif
#ifndef COMPAT_ARCH
#define COMPAT_ARCH NATIVE_ARCH
#endif
#ifndef COMPAT
#define COMPAT(number) (-1) /* its numbers are others, and nothing is noted of 32-bit programs */
#endif
#define COMPAT_IOCTL (COMPAT_ARCH == NATIVE_ARCH ? SYS_ioctl : 54)

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define LOAD(what) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, what))
#define IF(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, then, otherwise)
#define LET_GO BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define NOTIFY BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)

/* Of newer machines' kernels some of these are missing; what follows is x86-64's and i386's numbers. */
static const struct fusecopy_row rows[] = {
	{ FUSECOPY_COPY_FILE_RANGE, SYS_copy_file_range, COMPAT(377), -1, -1, -1, 8 },
#ifdef SYS_sendfile
	{ FUSECOPY_SENDFILE, SYS_sendfile, COMPAT(239), -1, -1, -1, 8 },
	{ FUSECOPY_SENDFILE, -1, COMPAT(187), -1, -1, -1, 4 },
#endif
	{ FUSECOPY_SPLICE, SYS_splice, COMPAT(313), -1, -1, -1, 8 },
#ifdef SYS_open
	{ FUSECOPY_OPEN, SYS_open, COMPAT(5), -1, 0, 1, 0 },
	{ FUSECOPY_OPEN, SYS_creat, COMPAT(8), -1, 0, -1, 0 },
#endif
	{ FUSECOPY_OPEN, SYS_openat, COMPAT(295), 0, 1, 2, 0 },
#ifdef SYS_openat2
	{ FUSECOPY_OPEN, SYS_openat2, COMPAT(437), 0, 1, 2, 8 },
#endif
#ifdef SYS_rename
	{ FUSECOPY_RENAME, SYS_rename, COMPAT(38), -1, 0, -1, 0 },
#endif
#ifdef SYS_renameat
	{ FUSECOPY_RENAME, SYS_renameat, COMPAT(302), 0, 1, -1, 0 },
#endif
	{ FUSECOPY_RENAME, SYS_renameat2, COMPAT(353), 0, 1, -1, 0 },
	{ FUSECOPY_EXIT, SYS_exit_group, COMPAT(252), -1, -1, -1, 0 },
	{ FUSECOPY_UMOUNT, SYS_umount2, COMPAT(52), -1, 0, -1, 0 },
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))
#define MOST_STATEMENTS (8 + 2 * (8 + 5 * ROWS))

/* Known by its command; see `fusecopy_row`. */
static const struct fusecopy_row an_ioctl = { FUSECOPY_FICLONE, SYS_ioctl, COMPAT(54), -1, -1, -1, 0 };

static int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

const struct fusecopy_row *fusecopy_row(uint32_t arch, int number)
{
	bool compat = arch != NATIVE_ARCH;

	if (number == (compat ? an_ioctl.compat : an_ioctl.native))
		return &an_ioctl;
	for (size_t at = 0; at < ROWS; at++)
		if (number == (compat ? rows[at].compat : rows[at].native))
			return &rows[at];
	return NULL;
}

static int install(struct sock_filter *code, size_t length, unsigned long flags)
{
	struct sock_fprog program = { .len = (unsigned short)length, .filter = code };
	int listener = result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				      flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program));

	if (listener == -EINVAL)
		listener = result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
	return listener;
}

/* As below, and of the machine's own programs the calls that the catalogue has faults of. */
static int install_faults(unsigned long flags)
{
	static struct sock_filter code[] = {
		LOAD(arch),
		IF(NATIVE_ARCH, 3, 0),
		IF(COMPAT_ARCH, 0, 10),
		LOAD(nr),
		IF(COMPAT_IOCTL, 4, 8),
		LOAD(nr),
		IF(SYS_copy_file_range, 7, 0),
		IF(SYS_sendfile, 6, 0),
		IF(SYS_ioctl, 0, 4),
		LOAD(args[1]),
		IF(FICLONE, 3, 0),
		IF(FICLONERANGE, 2, 0),
		IF(FIDEDUPERANGE, 1, 0),
		IF(FS_IOC_FIEMAP, 0, 1),
		NOTIFY,
		LET_GO,
	};

	return install(code, sizeof(code) / sizeof(code[0]), flags);
}

static int install_ioctls(unsigned long flags)
{
	/* The architecture and the number come first: calls that these decide the kernel lets through without
	 * running the filter (Linux 5.11). x32's ioctl goes on to the kernel. Of the command the kernel itself
	 * takes the low half only; C libraries whose ioctl takes an int fill the other with its sign. */
	static struct sock_filter code[] = {
		LOAD(arch),
		IF(NATIVE_ARCH, 3, 0),
		IF(COMPAT_ARCH, 0, 8),
		LOAD(nr),
		IF(COMPAT_IOCTL, 2, 6),
		LOAD(nr),
		IF(SYS_ioctl, 0, 4),
		LOAD(args[1]),
		IF(FICLONE, 4, 0),
		IF(FICLONERANGE, 3, 0),
		IF(FIDEDUPERANGE, 2, 0),
		IF(FS_IOC_FIEMAP, 1, 0),
		LET_GO,
		NOTIFY,
	};

	return install(code, sizeof(code) / sizeof(code[0]), flags);
}

static void append(struct sock_filter *code, size_t *length, const struct sock_filter *more, size_t count)
{
	for (size_t at = 0; at < count; at++)
		code[(*length)++] = more[at];
}

#define APPEND(...)                                                                                                    \
	append(code, length, (const struct sock_filter[]){ __VA_ARGS__ },                                              \
	       sizeof((const struct sock_filter[]){ __VA_ARGS__ }) / sizeof(struct sock_filter))

/* What one architecture's calls come to. Directories are opened in their thousands, and copied by no call. */
static void append_calls(struct sock_filter *code, size_t *length, bool compat)
{
	int ioctl_number = compat ? an_ioctl.compat : an_ioctl.native;

	APPEND(LOAD(nr));
	if (ioctl_number >= 0)
		APPEND(IF((uint32_t)ioctl_number, 0, 5), LOAD(args[1]), IF(FICLONE, 1, 0), IF(FICLONERANGE, 0, 1),
		       NOTIFY, LET_GO);
	for (size_t at = 0; at < ROWS; at++) {
		const struct fusecopy_row *row = &rows[at];
		int number = compat ? row->compat : row->native;

		if (number < 0)
			continue;
		if (row->flags >= 0 && !row->bytes)
			APPEND(IF((uint32_t)number, 0, 4), LOAD(args[row->flags]),
			       BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_DIRECTORY | O_PATH, 0, 1), LET_GO, NOTIFY);
		else
			APPEND(IF((uint32_t)number, 0, 1), NOTIFY);
	}
	APPEND(LET_GO);
}

static int install_copies(unsigned long flags)
{
	struct sock_filter code[MOST_STATEMENTS], compat[MOST_STATEMENTS];
	size_t count = 0, count_compat = 0;
	struct sock_filter *at = code;
	size_t *length = &count;

	append_calls(compat, &count_compat, true);
	append(at, length,
	       (const struct sock_filter[]){ LOAD(arch), IF(NATIVE_ARCH, (uint8_t)(count_compat + 2), 0),
					     IF(COMPAT_ARCH, 1, 0), LET_GO },
	       4);
	append(at, length, compat, count_compat);
	append_calls(code, &count, false);
	return install(code, count, flags);
}

int fusecopy_notification_bytes(void)
{
	struct seccomp_notif_sizes sizes;

	if (!NATIVE_ARCH)
		return -EOPNOTSUPP;
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return -errno;
	if (sizes.seccomp_notif != sizeof(struct seccomp_notif) ||
	    sizes.seccomp_notif_resp != sizeof(struct seccomp_notif_resp))
		return -EOPNOTSUPP;
	return sizes.seccomp_notif;
}

/* It sets no_new_privs, without which a filter would need CAP_SYS_ADMIN; who has that, and whose calls are noted
 * only, may go on to start set-user-ID programs. SPEC_ALLOW, because this is no sandbox: kernels before 5.16
 * would slow the whole program down. WAIT_KILLABLE_RECV (Linux 5.19): a signal that is not fatal must not
 * interrupt, and repeat, a clone that is being made. */
int fusecopy_listen(int what)
{
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	int listener = fusecopy_notification_bytes();

	if (listener < 0)
		return listener;
	if (what == FUSECOPY_COPIES) {
		listener = install_copies(flags);
		if (listener != -EACCES)
			return listener;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	switch (what) {
	case FUSECOPY_COPIES:
		return install_copies(flags);
	case FUSECOPY_FAULTS:
		return install_faults(flags);
	default:
		return install_ioctls(flags);
	}
}
