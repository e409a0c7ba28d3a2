/* Acting as somebody else, in one thread. */

#include "become.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool has(const unsigned int *groups, size_t count)
{
	gid_t own[NGROUPS_MAX];
	int number = getgroups(NGROUPS_MAX, own);

	return number >= 0 && (size_t)number == count && memcmp(own, groups, count * sizeof(*own)) == 0;
}

/* The raw setgroups, because the C library's changes all threads. setfsuid and setfsgid report no error, so the result
 * is asked for again. A user namespace may forbid setgroups (user_namespaces(7)); all in it keep the groups that they
 * came with. */
int fusecopy_become(unsigned int uid, unsigned int gid, const unsigned int *groups, size_t count)
{
	if (syscall(SYS_setgroups, count, groups) < 0 && !(errno == EPERM && has(groups, count)))
		return -errno;
	setfsgid(gid);
	setfsuid(uid);
	if ((unsigned int)setfsgid(-1) != gid || (unsigned int)setfsuid(-1) != uid)
		return -EPERM;
	return 0;
}
