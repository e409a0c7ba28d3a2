/* The open files (files.c). */

#ifndef FUSECOPY_FILES_H
#define FUSECOPY_FILES_H

#include "inode.h"
#include "shared.h"

/* A new one, behind a descriptor that is closed by whoever takes it out; NULL without memory. Its address is the handle
 * that the kernel gives back with each request. */
struct fusecopy_file *fusecopy_new_file(int fd, struct fusecopy_inode *inode);

/* It is released: it is no open file any more, and its descriptor the caller's. False where it was none already. */
int fusecopy_take_out_file(struct fusecopy_file *file);

/* It lives as long as somebody holds it, besides the table. */
struct fusecopy_file *fusecopy_hold_file(struct fusecopy_file *file);
void fusecopy_release_file(struct fusecopy_file *file);

/* How many there are, of which `room` are found, each to be released. */
size_t fusecopy_all_files(struct fusecopy_file **found, size_t room);

#endif
