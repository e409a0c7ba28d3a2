#ifndef FUSECOPY_FILTER_H
#define FUSECOPY_FILTER_H

#include <stdbool.h>
#include <stdint.h>

/* Which calls wait for a supervisor: the four ioctls that it serves; the calls that copies are made of, which
 * it notes and lets go on; or those ioctls, and the calls that faults are asked for of. */
#define FUSECOPY_IOCTLS (0)
#define FUSECOPY_COPIES (1)
#define FUSECOPY_FAULTS (2)

/* What a call of the second kind does. */
#define FUSECOPY_FICLONE (1)
#define FUSECOPY_FICLONERANGE (2)
#define FUSECOPY_COPY_FILE_RANGE (3)
#define FUSECOPY_SENDFILE (4)
#define FUSECOPY_SPLICE (5)
#define FUSECOPY_OPEN (6)
#define FUSECOPY_RENAME (7)
#define FUSECOPY_UMOUNT (8)
#define FUSECOPY_EXIT (9)
#define FUSECOPY_UNSEEN (10) /* a call of a process that may not be looked at */

/* A system call, as the filter and the supervisor tell it: where its arguments lie. A negative number is none. */
struct fusecopy_row {
	int kind;
	int native;
	int compat;
	int directory; /* the argument that holds a directory's descriptor */
	int path;
	int flags; /* of open(2); for a creat(2) there are none */
	int bytes; /* of an offset in memory */
};

/* The size of a notification here, which installs nothing, or -errno: -EOPNOTSUPP where there is no filter for this
 * machine, or its kernel's notifications are not those that we were built with. */
int fusecopy_notification_bytes(void);

/* Install a filter for this process and all it will start, and return its listener or -errno. -EBUSY where a
 * supervisor is there already. */
int fusecopy_listen(int what);

/* The row of a call, or NULL. */
const struct fusecopy_row *fusecopy_row(uint32_t arch, int number);

#endif
