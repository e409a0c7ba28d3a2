/* What a supervisor does with its notifications (calls.c): 0 or more, or a negative errno. */

#ifndef FUSECOPY_CLONE_CALLS_H
#define FUSECOPY_CLONE_CALLS_H

#include <stdint.h>

struct fusecopy_call {
	uint64_t id;
	int thread;
	int number; /* of the system call */
	uint64_t given[6];
};

struct fusecopy_taken {
	uint64_t device;
	uint32_t mode;
	int flags;
};

int fusecopy_receive(int listener, struct fusecopy_call *call);
int fusecopy_valid(int listener, uint64_t id);
int fusecopy_refuse(int listener, uint64_t id, int error);
int fusecopy_answer(int listener, uint64_t id, int64_t count);
int fusecopy_continue(int listener, uint64_t id);
int fusecopy_pidfd(int thread, int process);
int fusecopy_take(int pidfd, int fd, struct fusecopy_taken *file);
int fusecopy_write_back(int fd);
int fusecopy_ioctl(int fd, unsigned long number, char *argument);

#endif
