/* Who holds an inode, who uses its descriptor, and which descriptors are closed meanwhile (borrowing.c). */

#ifndef FUSECOPY_BORROWING_H
#define FUSECOPY_BORROWING_H

#include "inode.h"

/* Whether the kernel knows an inode of that number. */
int fusecopy_is_inode(uint64_t number);

/* To be released: the inode of that number, or of that file of the backing; NULL where the kernel knows none. */
struct fusecopy_inode *fusecopy_inode_of(uint64_t number);
struct fusecopy_inode *fusecopy_inode_of_file(uint64_t device, uint64_t ino);

/* All of them, the root among them: how many there are, of which `room` are found, each to be released. */
size_t fusecopy_all_inodes(struct fusecopy_inode **found, size_t room);

struct fusecopy_inode *fusecopy_hold(struct fusecopy_inode *inode);
void fusecopy_release(struct fusecopy_inode *inode);

/* To be given back: the inode of that number with its descriptor, which stays open; NULL where it is closed. Waits for
 * nothing. */
struct fusecopy_inode *fusecopy_borrow(uint64_t number);

/* The same of one that is held, whose descriptor is opened again if it was closed: 0, or -ESTALE where its file is no
 * longer to be found. May wait. */
int fusecopy_take(struct fusecopy_inode *inode);

/* End what one of these has begun. May wait, while the blocks of a file without a name are freed. */
void fusecopy_give_back(struct fusecopy_inode *inode);

/* Close the least recently used descriptors that nobody uses, down to the limit. Descriptors have run out: close all,
 * and keep fewer from now on. */
void fusecopy_make_room(void);
void fusecopy_run_out(void);

/* What is opened again is found by its file handle, where that is permitted, and not by its names. */
void fusecopy_open_by_handles(int is_permitted);
int fusecopy_opens_by_handles(void);

#endif
