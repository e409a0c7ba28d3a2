/* LOOKUP, and FORGET, which takes it back. */

#include "names.h"

#include "borrowing.h"
#include "fuse.h"
#include "inodes.h"
#include "replies.h"
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int fusecopy_is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int fusecopy_enter_entry(int descriptor, struct fusecopy_inode *directory, const char *name,
			 struct fusecopy_entry *entry, struct fusecopy_inode **inode)
{
	int error = fusecopy_stat_found(descriptor, entry);

	*inode = error < 0 ? NULL : fusecopy_enter(descriptor, entry->device, entry->ino, directory, name);
	if (!*inode) {
		close(descriptor);
		return error < 0 ? error : -ENOMEM;
	}
	entry->number = (*inode)->number;
	entry->entry_timeout = fusecopy_name_timeout(directory);
	return 0;
}

int fusecopy_look_up(struct fusecopy_inode *directory, const char *name, struct fusecopy_entry *entry)
{
	int descriptor = openat(directory->descriptor, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct fusecopy_inode *inode;

	return descriptor < 0 ? -errno : fusecopy_enter_entry(descriptor, directory, name, entry, &inode);
}

int fusecopy_answer_lookup(struct fusecopy_request *request)
{
	const char *name = request->payload;
	struct fusecopy_inode *directory;
	struct fusecopy_entry entry = { .number = 0 };
	int error;

	if (fusecopy_is_dots(name) || !(directory = fusecopy_borrow(request->header->nodeid)))
		return FUSECOPY_LEFT;
	error = fusecopy_look_up(directory, name, &entry);
	fusecopy_give_back(directory);
	if (error == -EMFILE || error == -ENFILE)
		return FUSECOPY_LEFT;
	if (error == -ENOENT)
		fusecopy_reply_absent(request);
	else if (error < 0)
		fusecopy_reply_error(request, -error);
	else
		fusecopy_reply_entry(request, &entry);
	return FUSECOPY_ANSWERED;
}

int fusecopy_answer_forget(struct fusecopy_request *request)
{
	const struct fuse_forget_in *in = request->arguments;

	fusecopy_forget(request->header->nodeid, in->nlookup);
	return FUSECOPY_ANSWERED;
}

int fusecopy_answer_batch_forget(struct fusecopy_request *request)
{
	const struct fuse_batch_forget_in *in = request->arguments;
	const struct fuse_forget_one *forgotten = (const struct fuse_forget_one *)request->payload;

	for (uint32_t n = 0; n < in->count; n++)
		fusecopy_forget(forgotten[n].nodeid, forgotten[n].nlookup);
	return FUSECOPY_ANSWERED;
}
