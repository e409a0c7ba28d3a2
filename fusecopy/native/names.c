/*
 * LOOKUP of names that are not there, answered without Python: whoever creates a file looks first.
 */

#include "nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int fusecopy_is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int fusecopy_answer_absent(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fusecopy_use use;
	struct stat st;
	int is_absent;

	/* The kernel resolves these two itself; as a name from elsewhere they would lead out of the backing. */
	if (fusecopy_is_dots(name) || !fusecopy_begin_use(&use, parent))
		return 0;
	is_absent = fstatat(use.descriptor, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	fusecopy_end_use(&use);
	if (is_absent)
		fusecopy_reply_absent(req, parent);
	return is_absent;
}
