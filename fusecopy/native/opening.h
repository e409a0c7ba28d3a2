/* OPEN, CREATE and MKDIR (opening.c). */

#ifndef FUSECOPY_OPENING_H
#define FUSECOPY_OPENING_H

#include "inode.h"
#include "shared.h"

struct fusecopy_request;

/* How files are opened, and as whom. */
struct fusecopy_opening {
	int noatime;	   /* O_NOATIME: reading leaves the backing's access times alone, where the server may do so */
	int noflush;	   /* closing a file of the backing's filesystem reports nothing */
	int keep_cache;	   /* pages that the kernel knows from before are still right */
	int passthrough;   /* the kernel may read and write files by itself */
	int traces_ioctls; /* what the kernel refuses by itself is seen */
	int is_root;	   /* the server may act as others, and its callers have other rights than it has */
	unsigned int uid;  /* the server's own */
	unsigned int gid;
	uint64_t device;    /* st_dev of the backing's root, */
	int64_t filesystem; /* and what statfs(2) calls its filesystem */
};

/* To be set before the session begins. */
struct fusecopy_opening *fusecopy_get_opening(void);

/* OPEN of what needs no policy: a regular file that the kernel does not read and write by itself. */
int fusecopy_answer_open(struct fusecopy_request *request);

/* CREATE and MKDIR, as the caller, where that is the server itself: in everybody else's name Python creates. */
int fusecopy_answer_create(struct fusecopy_request *request);
int fusecopy_answer_mkdir(struct fusecopy_request *request);

/* Whether a request is carried out with the rights that this thread has: who creates decides whose the new file is, and
 * more; who takes up room may have more than others. */
int fusecopy_is_for_server(const struct fusecopy_request *request);

/* Answer with 0 or a negative errno; but for lack of room, of which others may be given more, or of descriptors, of
 * which there may be more by then, it is LEFT. */
int fusecopy_answer_unless_short(struct fusecopy_request *request, int error);

/* ---- for Python, too ------------------------------------------------------------------------------------ */

/* Open a regular file by an O_PATH descriptor; a negative errno, EINVAL of all else, because to open a fifo or a device
 * acts on it. Only a file's owner and root may leave its access time alone, and an append-only file is written with
 * O_APPEND or not at all (open(2)); else that is left out, because no copy may go into such a descriptor. */
int fusecopy_open_regular(int descriptor, int flags);

/* Create a regular file with this umask, which the thread keeps; without a name where `name` is NULL. Its descriptor,
 * and in `found` one of O_PATH; or a negative errno.
 *
 * What has the name by now, made behind the mount's back since the kernel looked, is never opened here: it may be a
 * fifo, for which the thread would wait, a device, or a file that is proven while O_TRUNC cuts it. ESTALE has the
 * kernel look the name up once more (do_filp_open in fs/namei.c, Linux 6.1 to 7.2), and ask for what it finds.
 *
 * O_APPEND is not passed on: the kernel gives each write its offset, and a copy into a descriptor opened with it fails
 * with EBADF (copy_file_range(2)). O_DIRECT is not either: the kernel leaves out its own cache for it, and the
 * requests' buffers are not aligned. */
int fusecopy_create(int directory, const char *name, int flags, unsigned int mode, unsigned int mask, int *found);

/* Of this thread alone, which has its own from the first time on: 0, or a negative errno. */
int fusecopy_umask(unsigned int mask);

/* Note a file that was opened, with these flags, by this user's thread; NULL without memory. */
struct fusecopy_file *fusecopy_opened(int fd, struct fusecopy_inode *inode, int flags, uid_t uid, pid_t thread);

/* What the kernel is told of it. */
void fusecopy_describe(const struct fusecopy_file *file, struct fusecopy_opened *opened);

#endif
