/* One file, directory or special file of the backing, as the kernel knows it by number. */

#ifndef FUSECOPY_INODE_H
#define FUSECOPY_INODE_H

#include <stddef.h>
#include <stdint.h>

struct file_handle;

/* A name that an inode was seen under. */
struct fusecopy_name {
	struct fusecopy_name *next; /* the one seen before it */
	struct fusecopy_inode *directory;
	char name[];
};

/* It lives as long as somebody holds it: the table, what was seen in it, open files, Python. */
struct fusecopy_inode {
	uint64_t number; /* what the kernel calls it, and st_ino in the mount */
	uint64_t device; /* st_dev and st_ino in the backing */
	uint64_t ino;
	uint64_t lookups;    /* how often the kernel was told of it and has not forgotten it; 0 once it is forgotten */
	uint64_t generation; /* grows when another file takes over device and ino */
	struct fusecopy_name *seen; /* the latest first, then other names (hard links); none of the root */
	struct file_handle *handle; /* known once the descriptor has been closed; tells it from a later file */
	uint64_t mount;		    /* by which the descriptor was opened that has been closed */
	int64_t told_size;	    /* in bytes, as the kernel was last told; -1: never */
	int descriptor;		    /* O_PATH, or -1 while closed */
	int borrowers;		    /* users of the descriptor now; it is not closed under them */
	int holders;
	int is_kept;	/* no name leads to it any more (or it is the root), so the descriptor stays open */
	int is_expired; /* the kernel is to believe no attributes of it */
	struct fusecopy_inode *next_by_number;
	struct fusecopy_inode *next_by_file;
	struct fusecopy_inode *newer; /* in the list of those whose descriptors may be closed */
	struct fusecopy_inode *older;
};

/* All that follows is for who has the table's lock. */

/* It was seen under this name, which may be a further one; 0, or -ENOMEM. */
int fusecopy_inode_see(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name);

/* This name is gone. Whether none is left that is known: then the last one still tells of it. */
int fusecopy_inode_lose(struct fusecopy_inode *inode, const struct fusecopy_inode *directory, const char *name);

/* Its path relative to the root of the mount, by the names last seen: the bytes that it has, of which `room` are laid
 * out, from its end. */
size_t fusecopy_inode_path(const struct fusecopy_inode *inode, char *path, size_t room);

/* It has this name and no other. */
void fusecopy_inode_rename(struct fusecopy_inode *inode, struct fusecopy_inode *directory, const char *name);

/* Hold it; hold it no more, which frees it after the last one, and what only it has held. */
struct fusecopy_inode *fusecopy_inode_hold(struct fusecopy_inode *inode);
void fusecopy_inode_release(struct fusecopy_inode *inode);

#endif
