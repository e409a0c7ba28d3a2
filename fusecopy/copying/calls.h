/* The calls of a copy that Python has no function for (calls.c): 0 or more, or a negative errno. */

#ifndef FUSECOPY_COPYING_CALLS_H
#define FUSECOPY_COPYING_CALLS_H

#include <stdint.h>

/* Two files before a copy. */
struct fc_files {
	uint64_t size_in;
	uint64_t size_out;
	int block;
	int same;
};

int fc_clone_range(int source, uint64_t offset_in, uint64_t length, int destination, uint64_t offset_out);
int fc_dedupe_range(int source, uint64_t offset_in, uint64_t length, int destination, uint64_t offset_out,
		    uint64_t *deduped);
int fc_block_size(int fd);
int fc_look(int source, int destination, struct fc_files *files);
int fc_one_filesystem(int one, int other);
int fc_mount_id(int fd);
int fc_punch_hole(int fd, int64_t offset, int64_t length);
int fc_extend(int fd, int64_t offset, int64_t length);
int fc_inode_flags(int fd, uint32_t *flags);
int fc_rename_new(int directory, const char *old, const char *new);
int64_t fc_resident_bytes(int fd);
int64_t fc_servers_size(int fd);
int fc_syncfs(int fd);
uint64_t fc_generation(int fd);

#endif
