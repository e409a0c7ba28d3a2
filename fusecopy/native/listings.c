/*
 * Listings of directories of the backing, a batch of entries at a time: fusecopy_find reads, opens and stats them,
 * fusecopy_enter_listed enters those that it found, and fusecopy_lay_out adds them to the reply. A batch takes no more
 * than what the reply has room for, so that nothing is looked up that the kernel is not told of.
 */

#include "listings.h"

#include "fuse.h"
#include "inodes.h"
#include "names.h"
#include "replies.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a listing shows for an entry without a node, which may be listed but not looked up: with 0 it would pass
 * for a removed one (readdir of the C library skips those). libfuse's own listings show the same. */
#define UNKNOWN_NUMBER 0xffffffff

/* getdents64(2) as the kernel has it; the C library's own struct dirent64 is the same. */
typedef struct dirent64 raw_entry;

/* How an entry lies in the reply, each as long as a multiple of 8. */
static size_t room_for(const char *name, int plus)
{
	size_t length = strlen(name);

	return plus ? FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length)
		    : FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + length);
}

int fusecopy_seek_directory(struct fusecopy_directory *d, int64_t off)
{
	if (off == d->position)
		return 0;
	if (lseek(d->fd, off, SEEK_SET) < 0)
		return -errno;
	d->position = off;
	d->next = d->length = 0;
	return 0;
}

/* Whether there are further entries; or a negative errno. */
static int has_entries(struct fusecopy_directory *d)
{
	long length;

	if (d->next < d->length)
		return 1;
	length = syscall(SYS_getdents64, d->fd, d->buffer, sizeof(d->buffer));
	if (length < 0)
		return -errno;
	d->next = 0;
	d->length = length;
	return length > 0;
}

/* Opens and stats an entry; 0 or an errno. */
static int look_up(int directory, struct fusecopy_found *found)
{
	int error;

	found->fd = openat(directory, found->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (found->fd < 0)
		return errno;
	error = -fusecopy_stat_found(found->fd, &found->entry);
	if (error) {
		close(found->fd);
		found->fd = -1;
	}
	return error;
}

static void name_only(struct fusecopy_found *found, uint64_t number, unsigned char kind)
{
	found->entry.number = number;
	found->entry.stat.st_mode = kind << 12; /* DTTOIF of <dirent.h> */
}

/* What to tell of an entry; false if it went since it was read. */
static int find(struct fusecopy_directory *d, const raw_entry *raw, int plus, struct fusecopy_found *found)
{
	*found = (struct fusecopy_found){ .name = raw->d_name, .after = raw->d_off, .fd = -1 };
	if (fusecopy_is_dots(raw->d_name)) {
		name_only(found, raw->d_name[1] ? d->parent : d->number, DT_DIR);
		return 1;
	}
	if (!plus) {
		name_only(found, raw->d_ino, raw->d_type);
		return 1;
	}
	switch (look_up(d->fd, found)) {
	case 0:
		return 1;
	case ENOENT:
		return 0;
	default:
		name_only(found, 0, raw->d_type);
		return 1;
	}
}

int fusecopy_find(struct fusecopy_listing *l, struct fusecopy_directory *d)
{
	size_t room = l->size - l->used;
	const raw_entry *raw;
	size_t needed;
	int more;

	l->count = 0;
	while ((more = has_entries(d)) > 0) {
		do {
			raw = (const raw_entry *)(d->buffer + d->next);
			needed = room_for(raw->d_name, l->plus);
			if (needed > room || l->count == FUSECOPY_FOUND)
				return l->count;
			d->next += raw->d_reclen;
			d->position = raw->d_off;
			if (find(d, raw, l->plus, &l->found[l->count])) {
				l->count++;
				room -= needed;
			}
		} while (d->next < d->length);
		if (l->count)
			break; /* their names are in the buffer */
	}
	return more < 0 ? more : (int)l->count;
}

/* What there is no memory for is listed, but not looked up. */
static void leave_out(struct fusecopy_found *found)
{
	close(found->fd);
	name_only(found, 0, (found->entry.stat.st_mode & S_IFMT) >> 12);
	found->fd = -1;
}

void fusecopy_enter_listed(struct fusecopy_listing *l, struct fusecopy_inode *directory)
{
	const double timeout = fusecopy_name_timeout(directory);
	struct fusecopy_found *found;
	struct fusecopy_inode *inode;

	for (size_t n = 0; n < l->count; n++) {
		found = &l->found[n];
		if (found->fd < 0)
			continue;
		inode = fusecopy_enter(found->fd, found->entry.device, found->entry.ino, directory, found->name);
		if (!inode) {
			leave_out(found);
			continue;
		}
		found->fd = -1;
		found->entry.entry_timeout = timeout;
		fusecopy_tell(inode->number, &found->entry);
	}
}

void fusecopy_lay_out(struct fusecopy_listing *l)
{
	const struct fusecopy_found *found;
	struct fuse_dirent *entry;
	size_t n, room;

	for (n = 0; n < l->count; n++) {
		found = &l->found[n];
		room = room_for(found->name, l->plus);
		entry = (struct fuse_dirent *)(l->reply + l->used);
		memset(entry, 0, room);
		if (l->plus) {
			fusecopy_fill_entry((struct fuse_entry_out *)entry, &found->entry);
			entry = &((struct fuse_direntplus *)entry)->dirent;
		}
		entry->ino = found->entry.number ? found->entry.number : UNKNOWN_NUMBER;
		entry->off = found->after;
		entry->namelen = strlen(found->name);
		entry->type = (found->entry.stat.st_mode & S_IFMT) >> 12;
		memcpy(entry->name, found->name, entry->namelen);
		l->used += room;
	}
	l->count = 0;
}
