/* An inode's names, and who holds it. */

#include "inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Directories moved behind the mount's back may, by the names last seen, lie in each other. */
#define DEEPEST 4096

/* Of a file with ten thousand hard links so many names are remembered. One that is not tells nothing when it is lost;
 * the descriptor then stays open where it need not. */
#define MOST_NAMES 64

/* ---- names -------------------------------------------------------------------------------------------- */

static int is(const struct fusecopy_name *seen, const struct fusecopy_inode *directory, const char *name)
{
	return seen->directory == directory && strcmp(seen->name, name) == 0;
}

static struct fusecopy_name **link_of(struct fusecopy_inode *inode, const struct fusecopy_inode *directory,
				      const char *name)
{
	struct fusecopy_name **link = &inode->seen;

	while (*link && !is(*link, directory, name))
		link = &(*link)->next;
	return link;
}

static struct fusecopy_name *new_name(struct fusecopy_inode *directory, const char *name)
{
	const size_t size = strlen(name) + 1;
	struct fusecopy_name *new = malloc(sizeof(*new) + size);

	if (new) {
		new->directory = fusecopy_inode_hold(directory);
		memcpy(new->name, name, size);
	}
	return new;
}

static void drop(struct fusecopy_name *name)
{
	fusecopy_inode_release(name->directory);
	free(name);
}

static void drop_oldest(struct fusecopy_inode *inode)
{
	struct fusecopy_name **link = &inode->seen, *name;

	for (int count = 0; *link && count < MOST_NAMES; count++)
		link = &(*link)->next;
	name = *link;
	*link = NULL;
	if (name)
		drop(name);
}

int fusecopy_inode_see(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name)
{
	struct fusecopy_name **link = link_of(inode, directory, name), *seen = *link;

	if (seen)
		*link = seen->next;
	else
		seen = new_name(directory, name);
	if (!seen)
		return -ENOMEM;
	seen->next = inode->seen;
	inode->seen = seen;
	drop_oldest(inode);
	return 0;
}

int fusecopy_inode_lose(struct fusecopy_inode *inode, const struct fusecopy_inode *directory, const char *name)
{
	struct fusecopy_name **link = link_of(inode, directory, name), *lost = *link;

	if (!lost)
		return 0;
	if (lost == inode->seen && !lost->next)
		return 1;
	*link = lost->next;
	drop(lost);
	return 0;
}

/* Without memory it keeps the names it has. */
void fusecopy_inode_rename(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name)
{
	struct fusecopy_name *old, *new = new_name(directory, name);

	if (!new)
		return;
	new->next = NULL;
	while ((old = inode->seen)) {
		inode->seen = old->next;
		drop(old);
	}
	inode->seen = new;
}

/* Lays `size` bytes out before those that there are. */
static void put_before(char *path, size_t room, size_t *used, const char *bytes, size_t size)
{
	*used += size;
	if (*used <= room)
		memcpy(path + room - *used, bytes, size);
}

size_t fusecopy_inode_path(const struct fusecopy_inode *inode, char *path, size_t room)
{
	size_t used = 0;

	for (int depth = 0; inode->seen && depth < DEEPEST; depth++) {
		if (used)
			put_before(path, room, &used, "/", 1);
		put_before(path, room, &used, inode->seen->name, strlen(inode->seen->name));
		inode = inode->seen->directory;
	}
	if (!used)
		put_before(path, room, &used, ".", 1);
	return used;
}

/* ---- holders ------------------------------------------------------------------------------------------ */

struct fusecopy_inode *fusecopy_inode_hold(struct fusecopy_inode *inode)
{
	inode->holders++;
	return inode;
}

/* However deep a tree is, it is freed without recursion: those to be freed are a list. */
void fusecopy_inode_release(struct fusecopy_inode *inode)
{
	struct fusecopy_inode *unheld = NULL, *directory;
	struct fusecopy_name *name;

	if (--inode->holders == 0) {
		inode->older = NULL;
		unheld = inode;
	}
	while ((inode = unheld)) {
		unheld = inode->older;
		while ((name = inode->seen)) {
			inode->seen = name->next;
			directory = name->directory;
			free(name);
			if (--directory->holders == 0) {
				directory->older = unheld;
				unheld = directory;
			}
		}
		free(inode->handle);
		free(inode);
	}
}
