/* Where inodes were seen. Without memory for a further name the one before tells of it. */

#include "seen.h"

#include "table.h"

#include <string.h>

struct fusecopy_inode *fusecopy_seen(const struct fusecopy_inode *inode, char *name)
{
	struct fusecopy_inode *directory = NULL;

	fusecopy_table_lock();
	if (inode->seen) {
		directory = fusecopy_inode_hold(inode->seen->directory);
		strcpy(name, inode->seen->name);
	}
	fusecopy_table_unlock();
	return directory;
}

int fusecopy_is_latest(const struct fusecopy_inode *inode, const struct fusecopy_inode *directory, const char *name)
{
	int is;

	fusecopy_table_lock();
	is = inode->seen && inode->seen->directory == directory && strcmp(inode->seen->name, name) == 0;
	fusecopy_table_unlock();
	return is;
}

size_t fusecopy_path(const struct fusecopy_inode *inode, char *path, size_t room)
{
	size_t size;

	fusecopy_table_lock();
	size = fusecopy_inode_path(inode, path, room);
	fusecopy_table_unlock();
	return size;
}

void fusecopy_see(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name)
{
	fusecopy_table_lock();
	if (inode->seen) /* the root has no name */
		fusecopy_inode_see(inode, directory, name);
	fusecopy_table_unlock();
}

int fusecopy_lose(struct fusecopy_inode *inode, const struct fusecopy_inode *directory, const char *name)
{
	int was_last;

	fusecopy_table_lock();
	was_last = fusecopy_inode_lose(inode, directory, name);
	fusecopy_table_unlock();
	return was_last;
}

void fusecopy_name(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name)
{
	fusecopy_table_lock();
	fusecopy_inode_rename(inode, directory, name);
	inode->is_kept = 0;
	if (inode->lookups && inode->descriptor >= 0)
		fusecopy_table_touch(inode);
	fusecopy_table_unlock();
}

void fusecopy_keep_open(struct fusecopy_inode *inode)
{
	fusecopy_table_lock();
	if (inode->lookups) {
		inode->is_kept = 1;
		fusecopy_table_untouch(inode);
	}
	fusecopy_table_unlock();
}
