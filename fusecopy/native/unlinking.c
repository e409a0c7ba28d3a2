/*
 * Names that go. The kernel may know the file (it is open, or somebody's working directory), and without a name only
 * its descriptor leads to it: that has to be open before the name goes, and to stay open.
 */

#include "unlinking.h"

#include "borrowing.h"
#include "opening.h"
#include "seen.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int status(const struct fusecopy_inode *directory, const char *name, struct stat *st)
{
	return fstatat(directory->descriptor, name, st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int leads_to(const struct fusecopy_inode *directory, const char *name, const struct fusecopy_inode *inode)
{
	struct stat st;

	return status(directory, name, &st) && st.st_dev == inode->device && st.st_ino == inode->ino;
}

/* Whether the name last seen leads to an inode; if not, it is gone, too. Whether none is left that is known. */
static int is_last_gone(struct fusecopy_inode *inode, int *is_gone)
{
	char name[FUSECOPY_NAME_BYTES];
	struct fusecopy_inode *directory = fusecopy_seen(inode, name);
	int leads = !directory, was_last = 0;

	if (directory && fusecopy_take(directory) == 0) {
		leads = leads_to(directory, name, inode);
		fusecopy_give_back(directory);
	}
	if (!leads)
		was_last = fusecopy_lose(inode, directory, name);
	if (directory)
		fusecopy_release(directory);
	*is_gone = !leads;
	return was_last;
}

/* A name was taken from an inode, unless it has it still (rename(2) of two names of one file does nothing). Whether it
 * has none left that is known: a name that it had besides may have been taken from it behind the mount's back. */
static int is_nameless(struct fusecopy_inode *inode, const struct fusecopy_inode *directory, const char *name)
{
	int was_latest, was_last, is_gone = 1;

	if (leads_to(directory, name, inode))
		return 0;
	was_latest = fusecopy_is_latest(inode, directory, name);
	was_last = fusecopy_lose(inode, directory, name);
	while (was_latest && !was_last && is_gone)
		was_last = is_last_gone(inode, &is_gone);
	return was_last;
}

int fusecopy_begin_loss(struct fusecopy_loss *loss, struct fusecopy_inode *directory, const char *name)
{
	struct stat st;
	int error = 0;

	*loss = (struct fusecopy_loss){ .directory = directory, .name = name };
	if (!status(directory, name, &st))
		return errno == ENOENT ? 0 : -errno;
	loss->known = fusecopy_inode_of_file(st.st_dev, st.st_ino);
	loss->is_only = st.st_nlink == 1 || S_ISDIR(st.st_mode);
	if (loss->known)
		error = fusecopy_take(loss->known);
	if (error < 0)
		fusecopy_release(loss->known);
	return error;
}

/* Of two hard links that go at once neither sees that the other goes, so two are counted again; a link made since
 * merely has the descriptor stay open. */
static int has_no_name(const struct fusecopy_loss *loss, int is_unnamed)
{
	struct stat st;

	if (loss->is_only || (is_unnamed && !fusecopy_opens_by_handles()))
		return 1;
	return fstat(loss->known->descriptor, &st) == 0 && st.st_nlink == 0;
}

int fusecopy_end_loss(const struct fusecopy_loss *loss, int is_lost)
{
	int is_unnamed = 1;

	if (!loss->known)
		return 0;
	if (is_lost) {
		is_unnamed = is_nameless(loss->known, loss->directory, loss->name);
		if (has_no_name(loss, is_unnamed))
			fusecopy_keep_open(loss->known);
	}
	fusecopy_give_back(loss->known);
	fusecopy_release(loss->known);
	return !is_unnamed;
}

/* The inode that the kernel knows of what has this name now, to be released. */
static struct fusecopy_inode *see(struct fusecopy_inode *directory, const char *name)
{
	struct fusecopy_inode *known = NULL;
	struct stat st;

	if (status(directory, name, &st))
		known = fusecopy_inode_of_file(st.st_dev, st.st_ino);
	if (known)
		fusecopy_see(known, directory, name);
	return known;
}

static void lose(struct fusecopy_inode *known, const struct fusecopy_inode *directory, const char *name)
{
	if (!known)
		return;
	is_nameless(known, directory, name);
	fusecopy_release(known);
}

void fusecopy_moved(struct fusecopy_inode *from, const char *name, struct fusecopy_inode *to, const char *new_name,
		    int is_exchange)
{
	struct fusecopy_inode *moved = see(to, new_name);

	if (is_exchange)
		lose(see(from, name), to, new_name);
	lose(moved, from, name);
}
