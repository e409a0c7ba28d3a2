/* Which bytes of a range lie in the extents of another: two files' FIEMAP, walked side by side. */

#ifndef FUSECOPY_SHARING_H
#define FUSECOPY_SHARING_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/fiemap.h>

#define EXTENTS_PER_CALL 128

/* FC_ENCODED: in one compressed extent, of which FIEMAP does not tell which bytes. */
enum { FC_SHARED, FC_NOT_SHARED, FC_HOLE, FC_UNPROVABLE, FC_ENCODED, FC_STATES };

/* Of a filesystem: it may store files where others do (on a server, or it is stacked); it has storage of its own, and
 * shares with no other; FIEMAP tells places in that, too. */
enum { FC_UNKNOWN_STORAGE, FC_OWN_STORAGE, FC_TOLD_PLACES };

/* A part of the destination's range that lies in one extent or hole of it; offset counts from the range's
 * beginning, flags are those of the destination's extent. */
struct fc_part {
	uint64_t offset;
	uint64_t length;
	uint32_t state;
	uint32_t flags;
};

/* One file on the way: a batch of its extents, and the piece (extent or hole) that was come to, whose end
 * counts from the range's beginning. */
struct fc_side {
	int fd;
	uint32_t fiemap_flags;
	uint64_t offset;
	uint64_t asked;
	uint64_t end;
	bool exhausted;
	int count;
	int next;
	uint64_t piece_end;
	uint64_t piece_number;
	bool hole;
	struct fiemap_extent extent;
	struct fiemap_extent found[EXTENTS_PER_CALL];
};

struct fc_walk {
	bool gives_places; /* the filesystem of both */
	bool equal;	   /* the bytes of the two ranges are known to be equal, because the one was copied just now */
	uint64_t at;
	uint64_t length;
	struct fc_side source;
	struct fc_side destination;
};

/* A range of one file that was copied to another. */
struct fc_range {
	uint64_t offset_in;
	uint64_t offset_out;
	uint64_t length;
};

int fc_storage(int fd);
int fc_fiemap(int fd, uint64_t start, uint64_t length, uint32_t flags, struct fiemap_extent *extents);
void fc_begin(struct fc_walk *walk, int source, uint64_t offset_in, int destination, uint64_t offset_out,
	      uint64_t length, uint32_t fiemap_flags, bool equal);
int fc_next_part(struct fc_walk *walk, struct fc_part *part);
int fc_totals(int source, uint64_t offset_in, int destination, uint64_t offset_out, uint64_t length,
	      uint32_t fiemap_flags, bool equal, uint64_t totals[FC_STATES]);
void fc_totals_of_clones(int source, int destination, const struct fc_range *ranges, int count,
			 uint64_t (*totals)[FC_STATES]);

#endif
