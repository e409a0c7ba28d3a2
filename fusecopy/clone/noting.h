#ifndef FUSECOPY_NOTING_H
#define FUSECOPY_NOTING_H

#include <stdint.h>

/* A call of the filter FUSECOPY_COPIES, as it was when it began. Which files it names is told by descriptors of ours,
 * opened O_PATH, so that nothing is held open: no lock, no execve(2) that fails with ETXTBSY, no FLUSH. */
struct fusecopy_noted {
	int kind; /* FUSECOPY_FICLONE and so on (filter.h) */
	int thread;
	int process;
	int64_t time; /* nanoseconds of CLOCK_REALTIME_COARSE, by which files have their times */
	char program[64];
	int source;
	int destination;
	int source_number; /* what the caller calls them */
	int destination_number;
	uint64_t offset_in;
	uint64_t offset_out;
	uint64_t length;
	int writes;  /* of an open: for writing */
	char *path;  /* of an open or a rename, from the root */
	char *other; /* of a rename: its new name */
	struct fusecopy_noted *next;
};

/* Note what a listener tells and let it go on, until nobody is left to call. `current` is the call that was taken last.
 */
void fusecopy_note(int listener, uint64_t *current);

/* The next of what was noted; NULL where there is none after `milliseconds`. To be given to fusecopy_forget, which
 * does not close its descriptors. */
struct fusecopy_noted *fusecopy_next(int milliseconds);
void fusecopy_forget(struct fusecopy_noted *noted);

/* An unmount waits for this, because nothing of ours may keep a filesystem busy. */
void fusecopy_let_unmount(void);

/* Calls that nothing could be noted of. */
uint64_t fusecopy_unnoted(void);

/* Once nobody writes to the pipe `told` any more, let all calls go on until nobody is left to call. */
void fusecopy_stand_by(int listener, int told, uint64_t *current);

#endif
