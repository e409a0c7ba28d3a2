/* One entry of a tree: open it, make its like elsewhere, give that the same attributes.
 *
 * Names are single components, relative to open directories; no symbolic link is followed and no mount point
 * crossed (openat2, Linux 5.6), so that a tree which is changed meanwhile leads nowhere else. Rights are those
 * of the calling thread. Every function answers 0 or more, or -errno.
 */

#ifndef FUSECOPY_COPYING_TREE_H
#define FUSECOPY_COPYING_TREE_H

#include <stdint.h>
#include <sys/stat.h>

/* What stat(2) says of a source. */
struct fc_entry {
	uint64_t device, ino, links, size, rdev;
	uint32_t mode, uid, gid;
	int64_t atime_s, atime_ns, mtime_s, mtime_ns;
};

int fc_describe(int fd, struct fc_entry *e);
int fc_open_entry(int directory, const char *path, int flags, struct fc_entry *e);
int fc_create_file(int source, int directory, const char *name, const struct fc_entry *e, int clone, int *cloned);
int fc_copy_attributes(int source, int destination, const struct fc_entry *e);
int fc_drop_acls(int fd);
int fc_give_attributes(int source, int destination, const struct fc_entry *e, const struct stat *now);

#endif
