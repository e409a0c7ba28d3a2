/* Files of one directory cloned whole, many by one call: what is done here is done without the interpreter's
 * lock, so that several threads work side by side instead of in turns.
 */

#ifndef FUSECOPY_COPYING_BATCH_H
#define FUSECOPY_COPYING_BATCH_H

#include <stdint.h>

/* States of a file: done; gone before it was opened; left, as it takes more than this; refused, for a reason
 * that is found by who does it next. Nothing is made of the last two. */
enum { FC_DONE, FC_GONE, FC_LEFT, FC_REFUSED };

/* What became of one file; times are CLOCK_MONOTONIC. */
struct fc_cloned {
	int state;
	uint64_t device, ino, size;	    /* the clone's */
	uint64_t generation;		    /* likewise, as fc_generation has it */
	uint64_t shared, holes, unprovable; /* bytes of it, by FIEMAP while both files were open */
	int64_t begun_ns, ended_ns;
};

int fc_clone_files(int from, int to, const char *names, int count, uint64_t largest, int64_t budget_ns,
		   struct fc_cloned *found);

#endif
