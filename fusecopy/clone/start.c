/* A command started under a filter. */

#include "start.h"
#include "filter.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int result(long value)
{
	return value < 0 ? -errno : (int)value;
}

static sigset_t signals_before;
static struct sigaction child_before;

/* What the command's process and this one share until its execve(2). */
struct start {
	char *const *command;
	int what;
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

	start->listener = fusecopy_listen(start->what);
	if (start->listener >= 0 || (start->listener == -EBUSY && start->what == FUSECOPY_IOCTLS)) {
		give_back_signals();
		execvp(start->command[0], start->command);
		start->failed = errno;
	}
	syscall(SYS_exit, 127); /* exit_group(2) may be told to a supervisor, who does not listen yet */
	return 127;
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
int fusecopy_start(char *const command[], int what, int *listener, int *failed)
{
	static const int own[] = { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP };
	static const struct sigaction default_action = { .sa_handler = SIG_DFL };
	struct start start = { .command = command, .what = what };
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
