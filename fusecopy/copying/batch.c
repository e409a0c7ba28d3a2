/* Files of one directory cloned whole, many by one call. */

#include "batch.h"

#include "calls.h"
#include "sharing.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <time.h>

static int64_t fc_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Without FIEMAP nothing is provable. The ioctl has written the source out before (see sharing.py). */
static void fc_prove_clone(int source, int destination, struct fc_cloned *c)
{
	uint64_t totals[FC_STATES];

	if (fc_totals(source, 0, destination, 0, c->size, 0, true, totals) < 0) {
		c->unprovable = c->size;
		return;
	}
	c->shared = totals[FC_SHARED];
	c->holes = totals[FC_HOLE];
	c->unprovable = totals[FC_UNPROVABLE];
}

/* 0 or -errno. */
static int fc_finish_clone(int source, int destination, const struct fc_entry *e, struct fc_cloned *c)
{
	struct stat now;
	int error;

	if (fstat(destination, &now) < 0)
		return -errno;
	c->device = now.st_dev;
	c->ino = now.st_ino;
	c->generation = fc_generation(destination);
	c->size = now.st_size;
	error = fc_give_attributes(source, destination, e, &now);
	if (error < 0)
		return error;
	if (c->size)
		fc_prove_clone(source, destination, c);
	return 0;
}

static int fc_clone_open(int source, int directory, const char *name, const struct fc_entry *e, struct fc_cloned *c)
{
	int refused, fd = fc_create_file(source, directory, name, e, e->size > 0, &refused);

	if (fd < 0)
		return FC_REFUSED;
	if (!refused)
		refused = fc_finish_clone(source, fd, e, c);
	if (refused)
		unlinkat(directory, name, 0);
	close(fd);
	return refused ? FC_REFUSED : FC_DONE;
}

static int fc_clone_file(int from, int to, const char *name, uint64_t largest, struct fc_cloned *c)
{
	struct fc_entry e;
	int state = FC_LEFT, source = fc_open_entry(from, name, O_RDONLY | O_NONBLOCK, &e);

	if (source == -ENOENT)
		return FC_GONE;
	if (source < 0)
		return FC_LEFT; /* perhaps another kind of entry has the name now */
	if (S_ISREG(e.mode) && e.links == 1 && e.size <= largest)
		state = fc_clone_open(source, to, name, &e, c);
	close(source);
	return state;
}

/* Clones `count` files of the directory `from` to the same names in `to`, by FICLONE alone. `names` follow one
 * another, each ended by a NUL. Returns how many were come to: fewer after one that was refused, and where
 * `budget_ns` were used up. */
int fc_clone_files(int from, int to, const char *names, int count, uint64_t largest, int64_t budget_ns,
		   struct fc_cloned *found)
{
	int64_t begun = fc_now(), now = begun;
	int n = 0, state = FC_DONE;

	while (n < count && state != FC_REFUSED && now - begun <= budget_ns) {
		struct fc_cloned *c = &found[n++];

		c->begun_ns = now;
		state = c->state = fc_clone_file(from, to, names, largest, c);
		c->ended_ns = now = fc_now();
		names += strlen(names) + 1;
	}
	return n;
}
