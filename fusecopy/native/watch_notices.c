/*
 * Notices to the kernel that something is to be asked anew.
 *
 * A notice about pages waits for a READ of them under way, one about a name for whatever the kernel asks of that
 * directory (fs/fuse/inode.c and dir.c, Linux 6.1 to 6.18). So none but those that never wait is sent by a thread that
 * owes an answer. They are written to the device here: libfuse before 3.16 has no word for names that are merely to be
 * looked up again, and none has one for epochs.
 */

#include "watch.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fuse.h>

#include "compat.h"
#include "request.h"

/* The name stays, for who works in the directory it names, and is looked up before it is used again (7.38, Linux 6.2).
 * Kernels before that drop it. */
#define EXPIRE_ONLY 1
#define MINOR_OF_EXPIRE 38

/* In no header of Debian 12's: since Linux 6.16 (7.44) every name is looked up again before it is used. */
#define NOTIFY_INC_EPOCH 8

/* A LOOKUP's answer that was written and is not taken yet makes an inode known a little later. So often a notice about
 * an inode that the kernel does not know is sent again, each time after twice as long. */
#define TRIES 5
#define FIRST_TRY_US 250

static int has_epochs = 1;

static int notice(int code, const void *body, size_t size, const char *name)
{
	struct fuse_out_header out = { .error = code };
	struct iovec iov[] = {
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = (void *)body, .iov_len = size },
		{ .iov_base = (void *)name, .iov_len = name ? strlen(name) + 1 : 0 },
	};

	out.len = iov[0].iov_len + iov[1].iov_len + iov[2].iov_len;
	__atomic_fetch_add(&fusecopy_get_watch()->notices, 1, __ATOMIC_RELAXED);
	return fusecopy_send_notice(iov, name ? 3 : size ? 2 : 1);
}

int fusecopy_notice_inode(uint64_t number, int what)
{
	const struct fuse_notify_inval_inode_out inode = {
		.ino = number,
		.off = what & FUSECOPY_PAGES ? 0 : -1,
	};

	return notice(FUSE_NOTIFY_INVAL_INODE, &inode, sizeof(inode), NULL);
}

int fusecopy_notice_name(uint64_t directory, const char *name)
{
	const struct fuse_notify_inval_entry_out entry = {
		directory, strlen(name), EXPIRE_ONLY, /* called padding before 7.38 */
	};

	return notice(FUSE_NOTIFY_INVAL_ENTRY, &entry, sizeof(entry), name);
}

int fusecopy_watch_has_epochs(void)
{
	return has_epochs;
}

int fusecopy_notice_epoch(void)
{
	int result = has_epochs ? notice(NOTIFY_INC_EPOCH, NULL, 0, NULL) : -EINVAL;

	if (result == -EINVAL)
		has_epochs = 0;
	return result;
}

/* An inode that is known here and not to the kernel: the answer that tells of it is on its way, and was given before it
 * changed; or it was forgotten, and that is on its way. */
static void notice_again(uint64_t number)
{
	for (int n = 0; n < TRIES; n++) {
		usleep(FIRST_TRY_US << n);
		if (!fusecopy_is_known(number) || fusecopy_notice_inode(number, FUSECOPY_ATTRIBUTES) != -ENOENT)
			return;
	}
	fusecopy_notice_epoch();
}

/* What never waits goes first. Where names can only be dropped, those that were looked up since they are new are left:
 * somebody may work in a directory of that name. */
static void send(const struct fusecopy_suspect *suspects)
{
	const struct fusecopy_suspect *s;
	int names_expire = fusecopy_get_connection()->minor >= MINOR_OF_EXPIRE;

	for (s = suspects; s; s = s->next)
		if (s->what)
			fusecopy_notice_inode(s->number, FUSECOPY_ATTRIBUTES);
	for (s = suspects; s; s = s->next)
		if (s->what & FUSECOPY_PAGES)
			fusecopy_notice_inode(s->number, FUSECOPY_PAGES);
	for (s = suspects; s; s = s->next)
		if (s->name[0] && (names_expire || !s->was_seen))
			fusecopy_notice_name(s->number, s->name);
	for (s = suspects; s; s = s->next)
		if (s->what && fusecopy_notice_inode(s->number, FUSECOPY_ATTRIBUTES) == -ENOENT)
			notice_again(s->number);
}

void fusecopy_watch_notify(void)
{
	struct fusecopy_suspect *suspects;

	while (fusecopy_take_suspects(&suspects)) {
		send(suspects);
		fusecopy_told_suspects();
	}
}
