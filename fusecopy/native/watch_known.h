/* The inodes that the kernel knows (watch_known.c), as the rest of watching finds them. */

#ifndef FUSECOPY_WATCH_KNOWN_H
#define FUSECOPY_WATCH_KNOWN_H

#include <pthread.h>

#include "watch.h"

struct fusecopy_known {
	struct fusecopy_known *next_by_key;
	struct fusecopy_known *next_by_number;
	struct fusecopy_key key;
	uint64_t number;
	uint64_t parent; /* where it was found first */
	int64_t changed_ns;
	uint8_t waiting; /* what is to be told of it, */
	uint8_t going;	 /* and what is being told */
	uint8_t is_blind;
	uint8_t has_mark;
	uint8_t follows_parent;
	uint8_t was_used; /* since the hand came by */
	uint8_t is_given_up;
};

/* All that follows is for who has the lock. */
pthread_mutex_t *fusecopy_known_lock(void);
struct fusecopy_known *fusecopy_find_number(uint64_t number);
struct fusecopy_known *fusecopy_find_key(struct fusecopy_key key);
void fusecopy_each_known(void (*visit)(struct fusecopy_known *known));

/* watch_suspects.c, likewise: something of it is to be told; names may be others than those that an OPEN came by. */
void fusecopy_suspect_known(struct fusecopy_known *known, int what);
void fusecopy_note_renamed(void);

#endif
