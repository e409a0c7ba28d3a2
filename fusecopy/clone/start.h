#ifndef FUSECOPY_START_H
#define FUSECOPY_START_H

/* Run a command under a filter (filter.h) and return its process id, with most signals blocked here from now on,
 * and SIGCHLD not ignored. `listener` is -errno where there is none: -EBUSY where a supervisor is there
 * already, which serves the ioctls of the command too; any other where the command did not run. `failed` is the errno
 * of execve(2). One command a process. */
int fusecopy_start(char *const command[], int what, int *listener, int *failed);

#endif
