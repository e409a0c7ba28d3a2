/* The filter, and a command started under it. */

#include "start.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/fiemap.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* COMPAT: 32-bit programs, whose ioctl(2) has the same number, 54, on both machines that have them. Arguments
 * come as 64 bits, and the structs of the four ioctls are laid out alike. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#define NATIVE_ARCH 0 /* the filter below reads the low half of an argument in its first place */
#elif defined(__x86_64__) && !defined(__ILP32__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define COMPAT_ARCH AUDIT_ARCH_I386
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
#define COMPAT_IOCTL (COMPAT_ARCH == NATIVE_ARCH ? SYS_ioctl : 54)

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

static int install(unsigned long flags)
{
	/* The architecture and the number come first: calls that these decide the kernel lets through without
	 * running the filter (Linux 5.11). x32's ioctl goes on to the kernel. Of the command the kernel itself
	 * takes the low half only; C libraries whose ioctl takes an int fill the other with its sign. */
	static struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, COMPAT_ARCH, 0, 8),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, COMPAT_IOCTL, 2, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FICLONE, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FICLONERANGE, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FIDEDUPERANGE, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FS_IOC_FIEMAP, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

/* Install the filter for this process and all it will start, and return its listener. It sets no_new_privs,
 * without which that would need CAP_SYS_ADMIN. SPEC_ALLOW, because this is no sandbox: kernels before 5.16
 * would slow the whole program down. WAIT_KILLABLE_RECV (Linux 5.19): a signal that is not fatal must not
 * interrupt, and repeat, a clone that is being made. EBUSY where a supervisor is there already. */
static int listen_to_ioctls(void)
{
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	struct seccomp_notif_sizes sizes;
	int listener;

	if (!NATIVE_ARCH)
		return -EOPNOTSUPP;
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return -errno;
	if (sizes.seccomp_notif != sizeof(struct seccomp_notif) ||
	    sizes.seccomp_notif_resp != sizeof(struct seccomp_notif_resp))
		return -EOPNOTSUPP;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	listener = install(flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	return listener == -EINVAL ? install(flags) : listener;
}

static sigset_t signals_before;
static struct sigaction child_before;

/* What the command's process and this one share until its execve(2). */
struct start {
	char *const *command;
	int listener;
	int failed;
};

/* In the child, whose memory is still the parent's: no handler of the parent's may run in it. Python ignores
 * SIGPIPE and SIGXFSZ for itself; the command is to have what it would have had. */
static void give_back_signals(void)
{
	struct sigaction action;

	sigaction(SIGCHLD, &child_before, NULL);
	for (int number = 1; number < NSIG; number++) {
		if (sigaction(number, NULL, &action) < 0)
			continue;
		if (action.sa_handler == SIG_IGN && number != SIGPIPE && number != SIGXFSZ)
			continue;
		action.sa_handler = SIG_DFL;
		action.sa_flags = 0;
		sigaction(number, &action, NULL);
	}
	sigprocmask(SIG_SETMASK, &signals_before, NULL);
}

static int become_command(void *argument)
{
	struct start *start = argument;

	start->listener = listen_to_ioctls();
	if (start->listener >= 0 || start->listener == -EBUSY) {
		give_back_signals();
		execvp(start->command[0], start->command);
		start->failed = errno;
	}
	_exit(127);
}

/* Room for execvp(3), which copies the words of a script that has no interpreter line. */
static size_t stack_bytes(char *const command[])
{
	size_t words = 0;

	while (command[words])
		words++;
	return (64 << 10) + ((words * sizeof(*command)) & ~(size_t)4095);
}

/* As posix_spawn(3) does it, but with the descriptors shared as well: the listener opened there is open here,
 * and the command does not get it, because it is close-on-exec. */
int fusecopy_start(char *const command[], int *listener, int *failed)
{
	static const int own[] = { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP };
	static const struct sigaction default_action = { .sa_handler = SIG_DFL };
	struct start start = { .command = command };
	size_t size = stack_bytes(command);
	sigset_t taken;
	int process;
	char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		return -errno;
	sigfillset(&taken);
	for (size_t at = 0; at < sizeof(own) / sizeof(own[0]); at++)
		sigdelset(&taken, own[at]); /* they tell of faults of our own */
	sigprocmask(SIG_BLOCK, &taken, &signals_before);
	sigaction(SIGCHLD, &default_action, &child_before); /* where it is ignored, nobody is told of an end */
	process = result(clone(become_command, stack + size, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, &start));
	munmap(stack, size);
	*listener = start.listener;
	*failed = start.failed;
	return process;
}
