/* Names: LOOKUP and FORGET (names.c). */

#ifndef FUSECOPY_NAMES_H
#define FUSECOPY_NAMES_H

#include "inode.h"
#include "shared.h"

struct fusecopy_request;

/* Whether a name is "." or "..": the kernel resolves these two itself; as a name from elsewhere they would lead out of
 * the backing. */
int fusecopy_is_dots(const char *name);

/* Count a look-up of the file open as `descriptor`, with O_PATH, which was found in a directory under this name and
 * becomes the inode table's. 0, what the kernel is to be told of it, and in `inode` which it is; or a negative errno:
 * then it is closed. */
int fusecopy_enter_entry(int descriptor, struct fusecopy_inode *directory, const char *name,
			 struct fusecopy_entry *entry, struct fusecopy_inode **inode);

/* The same of a name in a directory whose descriptor is open. */
int fusecopy_look_up(struct fusecopy_inode *directory, const char *name, struct fusecopy_entry *entry);

int fusecopy_answer_lookup(struct fusecopy_request *request);

/* FORGET and BATCH_FORGET, which have no reply. */
int fusecopy_answer_forget(struct fusecopy_request *request);
int fusecopy_answer_batch_forget(struct fusecopy_request *request);

#endif
