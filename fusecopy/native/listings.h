/* Listings of directories of the backing (listings.c). */

#ifndef FUSECOPY_LISTINGS_H
#define FUSECOPY_LISTINGS_H

#include "inode.h"
#include "shared.h"

/* Go on from position `off`; 0 or a negative errno. */
int fusecopy_seek_directory(struct fusecopy_directory *d, int64_t off);

/* Take as many entries as the batch and the reply have room for. Returns their number, 0 when there are no more or
 * the next does not fit, or a negative errno. */
int fusecopy_find(struct fusecopy_listing *l, struct fusecopy_directory *d);

/* Count a look-up of each of the batch that was opened, and note what the kernel is told of it: their descriptors
 * become the inode table's. */
void fusecopy_enter_listed(struct fusecopy_listing *l, struct fusecopy_inode *directory);

/* Add the batch to the reply. */
void fusecopy_lay_out(struct fusecopy_listing *l);

#endif
