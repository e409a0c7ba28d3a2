/* Who asks for a reflink or nothing, by the words of a command line (asking.c). */

#ifndef FUSECOPY_ASKING_H
#define FUSECOPY_ASKING_H

#include "shared.h"

#define FUSECOPY_WORDS_BYTES 4096

/* A program that may ask for one: only words tell, which Python reads. */
struct fusecopy_asker {
	struct fusecopy_caller caller;
	unsigned int words_size;
	char words[FUSECOPY_WORDS_BYTES]; /* the beginning of its command line, each ended by a null */
};

/* A thread that opens a file to write, and waits for the answer: for free(3), or NULL where it does not ask. */
struct fusecopy_asker *fusecopy_asker(pid_t thread);

#endif
