/* Acting as somebody else, in one thread. */

#include "become.h"

#include <errno.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The raw setgroups, because the C library's changes all threads. setfsuid and setfsgid report no error, so the result
 * is asked for again. */
int fusecopy_become(unsigned int uid, unsigned int gid, const unsigned int *groups, size_t count)
{
	if (syscall(SYS_setgroups, count, groups) < 0)
		return -errno;
	setfsgid(gid);
	setfsuid(uid);
	if ((unsigned int)setfsgid(-1) != gid || (unsigned int)setfsuid(-1) != uid)
		return -EPERM;
	return 0;
}
