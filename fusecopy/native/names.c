/*
 * LOOKUP of names that are not there, answered without Python: whoever creates a file looks first.
 */

#include "names.h"

#include "fuse.h"
#include "nodes.h"
#include "replies.h"
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int fusecopy_is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

int fusecopy_answer_absent(struct fusecopy_request *request)
{
	const char *name = request->payload;
	struct fusecopy_use use;
	struct stat st;
	int is_absent;

	/* The kernel resolves these two itself; as a name from elsewhere they would lead out of the backing. */
	if (fusecopy_is_dots(name) || !fusecopy_begin_use(&use, request->header->nodeid))
		return FUSECOPY_LEFT;
	is_absent = fstatat(use.descriptor, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
	fusecopy_end_use(&use);
	if (!is_absent)
		return FUSECOPY_LEFT;
	fusecopy_reply_absent(request);
	return FUSECOPY_ANSWERED;
}
