#include "sharing.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <linux/fs.h>
#include <linux/magic.h>

/* Of these FIEMAP gives no place on the device. */
#define UNTOLD (FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_UNKNOWN)

/* Extents of which only one has this are two, whatever place is given. */
#define KINDS (FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_UNWRITTEN | FIEMAP_EXTENT_DATA_INLINE)

/*
 * What is known of the filesystem that a file lies on: the one list of those whose FIEMAP proves anything. CIFS answers
 * with the file's own offsets, a stacked filesystem with places on a device below, and of those with several devices
 * some do not say which one is meant. Add a filesystem when its fiemap was read or measured, not because it answers.
 * EXT4's number is that of ext2 and ext3 too.
 */
int fc_storage(int fd)
{
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return FC_UNKNOWN_STORAGE;
	switch ((uint32_t)st.f_type) {
	case BTRFS_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case EXT4_SUPER_MAGIC:
		return FC_TOLD_PLACES;
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
		return FC_OWN_STORAGE;
	default:
		return FC_UNKNOWN_STORAGE;
	}
}

/* The number of extents that touch the range, at most EXTENTS_PER_CALL. */
int fc_fiemap(int fd, uint64_t start, uint64_t length, uint32_t flags, struct fiemap_extent *extents)
{
	struct {
		struct fiemap head;
		struct fiemap_extent extents[EXTENTS_PER_CALL];
	} map;

	memset(&map.head, 0, sizeof map.head);
	map.head.fm_start = start;
	map.head.fm_length = length;
	map.head.fm_flags = flags;
	map.head.fm_extent_count = EXTENTS_PER_CALL;
	if (ioctl(fd, FS_IOC_FIEMAP, &map) < 0)
		return -errno;
	memcpy(extents, map.extents, map.head.fm_mapped_extents * sizeof *extents);
	return (int)map.head.fm_mapped_extents;
}

/* Everything but the batch, which is written before it is read. */
static void begin(struct fc_side *side, int fd, uint64_t offset, uint64_t length, uint32_t fiemap_flags)
{
	memset(side, 0, offsetof(struct fc_side, found));
	side->fd = fd;
	side->fiemap_flags = fiemap_flags;
	side->offset = side->asked = offset;
	side->end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	side->exhausted = fd < 0;
}

/* Without a source (-1) it is one hole. `equal`: the bytes are, so that one compressed extent is as good as one place.
 */
void fc_begin(struct fc_walk *walk, int source, uint64_t offset_in, int destination, uint64_t offset_out,
	      uint64_t length, uint32_t fiemap_flags, bool equal)
{
	walk->gives_places =
		fc_storage(destination) == FC_TOLD_PLACES && (source < 0 || fc_storage(source) == FC_TOLD_PLACES);
	walk->equal = equal;
	walk->at = 0;
	walk->length = length;
	begin(&walk->source, source, offset_in, length, fiemap_flags);
	begin(&walk->destination, destination, offset_out, length, fiemap_flags);
}

static int fetch(struct fc_side *side)
{
	uint64_t end;
	int count = fc_fiemap(side->fd, side->asked, side->end - side->asked, side->fiemap_flags, side->found);

	if (count < 0)
		return count;
	side->count = count;
	side->next = 0;
	side->exhausted = count < EXTENTS_PER_CALL;
	if (side->exhausted)
		return 0;
	end = side->found[count - 1].fe_logical + side->found[count - 1].fe_length;
	if (end <= side->asked)
		return -EIO; /* the same extents would come for ever */
	side->asked = end;
	side->exhausted = end >= side->end;
	return 0;
}

static uint64_t from(uint64_t offset, uint64_t at)
{
	return at > offset ? at - offset : 0;
}

/* Come to the piece that holds the byte `at` of the range. */
static int advance(struct fc_side *side, uint64_t at, uint64_t length)
{
	while (side->piece_end <= at) {
		int error = side->next == side->count && !side->exhausted ? fetch(side) : 0;
		if (error)
			return error;
		side->piece_number++;
		side->hole = true;
		side->piece_end = length;
		if (side->next == side->count)
			continue;
		side->extent = side->found[side->next];
		if (at < from(side->offset, side->extent.fe_logical)) {
			side->piece_end = from(side->offset, side->extent.fe_logical);
		} else {
			side->next++;
			side->hole = false;
			side->piece_end = from(side->offset, side->extent.fe_logical + side->extent.fe_length);
		}
		if (side->piece_end > length)
			side->piece_end = length;
	}
	return 0;
}

/* Where on the device the byte `at` of the range lies; of an encoded (compressed) extent, where that begins. */
static uint64_t place(const struct fc_side *side, uint64_t at)
{
	const struct fiemap_extent *extent = &side->extent;
	if (extent->fe_flags & FIEMAP_EXTENT_ENCODED)
		return extent->fe_physical;
	return extent->fe_physical + (side->offset + at - extent->fe_logical);
}

/*
 * Of a compressed extent FIEMAP shows where the whole begins, wherever in it a file does (btrfs, Linux 5.10 to 7.2):
 * bytes 64K to 128K of it, cloned to offset 0 of another file, have the place of its bytes 0 to 64K. So one place then
 * means one extent, and shared bytes only where these are known to be equal.
 */
static uint32_t compare(const struct fc_walk *walk)
{
	const struct fc_side *source = &walk->source, *destination = &walk->destination;
	uint32_t one = source->extent.fe_flags, other = destination->extent.fe_flags;

	if (source->hole || (one | other) & FIEMAP_EXTENT_DELALLOC || (one ^ other) & KINDS)
		return FC_NOT_SHARED;
	if ((one | other) & UNTOLD)
		return FC_UNPROVABLE;
	if (!(one & other & FIEMAP_EXTENT_SHARED) || place(source, walk->at) != place(destination, walk->at))
		return FC_NOT_SHARED;
	return one & FIEMAP_EXTENT_ENCODED && !walk->equal ? FC_ENCODED : FC_SHARED;
}

/* All that is left, where FIEMAP proves nothing; its own error, where it has one. */
static int rest(struct fc_walk *walk, struct fc_part *part)
{
	struct fc_side *destination = &walk->destination;
	int count = fc_fiemap(destination->fd, destination->offset, 1, 0, destination->found);

	if (count < 0)
		return count;
	*part = (struct fc_part){ .offset = walk->at, .length = walk->length - walk->at, .state = FC_UNPROVABLE };
	walk->at = walk->length;
	return part->length > 0;
}

/* 1 and the next part, 0 at the range's end, or -errno. Neighbours within one extent that are alike are one
 * part, however the source is cut. */
int fc_next_part(struct fc_walk *walk, struct fc_part *part)
{
	struct fc_side *source = &walk->source, *destination = &walk->destination;
	uint64_t number = 0;

	if (!walk->gives_places)
		return rest(walk, part);
	memset(part, 0, sizeof *part);
	part->offset = walk->at;
	while (walk->at < walk->length) {
		uint64_t end;
		uint32_t state = FC_HOLE;
		int error = advance(destination, walk->at, walk->length);
		if (!error && !destination->hole)
			error = advance(source, walk->at, walk->length);
		if (error)
			return error;
		end = destination->piece_end;
		if (!destination->hole) {
			state = compare(walk);
			end = source->piece_end < end ? source->piece_end : end;
		}
		if (part->length && (destination->piece_number != number || state != part->state))
			return 1;
		number = destination->piece_number;
		part->state = state;
		part->flags = destination->hole ? 0 : destination->extent.fe_flags;
		part->length += end - walk->at;
		walk->at = end;
	}
	return part->length > 0;
}

/* The bytes of the range in each state. 0 or -errno. */
int fc_totals(int source, uint64_t offset_in, int destination, uint64_t offset_out, uint64_t length,
	      uint32_t fiemap_flags, bool equal, uint64_t totals[FC_STATES])
{
	struct fc_walk walk;
	struct fc_part part;
	int more;

	memset(totals, 0, FC_STATES * sizeof *totals);
	fc_begin(&walk, source, offset_in, destination, offset_out, length, fiemap_flags, equal);
	while ((more = fc_next_part(&walk, &part)) > 0)
		totals[part.state] += part.length;
	return more;
}

/* How many of the ranges follow one another in both files. */
static int neighbours(const struct fc_range *ranges, int count)
{
	int n = 1;

	while (n < count && ranges[n].offset_in == ranges[n - 1].offset_in + ranges[n - 1].length &&
	       ranges[n].offset_out == ranges[n - 1].offset_out + ranges[n - 1].length)
		n++;
	return n;
}

/* Of ranges that follow one another, the bytes in each state. 0 or -errno. */
static int split(struct fc_walk *walk, const struct fc_range *range, uint64_t (*totals)[FC_STATES])
{
	uint64_t end = range->length;
	struct fc_part part;
	int more;

	while ((more = fc_next_part(walk, &part)) > 0)
		while (part.length) {
			uint64_t some;

			while (part.offset >= end) {
				end += (++range)->length;
				totals++;
			}
			some = part.length < end - part.offset ? part.length : end - part.offset;
			(*totals)[part.state] += some;
			part.offset += some;
			part.length -= some;
		}
	return more;
}

/* The same of many clones, whose ioctl has written out what they share (see sharing.py). Those that follow one another
 * are looked at as one range: of 64 each costs 0.4 us so, and 14 by itself. Without FIEMAP nothing is provable. */
void fc_totals_of_clones(int source, int destination, const struct fc_range *ranges, int count,
			 uint64_t (*totals)[FC_STATES])
{
	struct fc_walk walk;

	for (int some; count > 0; ranges += some, totals += some, count -= some) {
		const struct fc_range *last;

		some = neighbours(ranges, count);
		last = &ranges[some - 1];
		fc_begin(&walk, source, ranges->offset_in, destination, ranges->offset_out,
			 last->offset_out + last->length - ranges->offset_out, 0, true);
		memset(totals, 0, some * sizeof *totals);
		if (split(&walk, ranges, totals) == 0)
			continue;
		memset(totals, 0, some * sizeof *totals);
		for (int n = 0; n < some; n++)
			totals[n][FC_UNPROVABLE] = ranges[n].length;
	}
}
