/*
 * What the kernel refuses by itself, FICLONE on FUSE, nobody tells us. It is inferred of a file that was opened to
 * write and closed with nothing in it, if the program's words say so. They have to be read when it is opened: it is
 * gone soon after it was refused.
 */

#include "asking.h"

#include "callers.h"

#include <stdlib.h>
#include <string.h>

/* GNU programs take the beginning of an option for it; what is shorter others have, too (--ref). */
#define REFLINK "--refl"

struct fusecopy_asker *fusecopy_asker(pid_t thread)
{
	char words[FUSECOPY_WORDS_BYTES];
	const ssize_t size = fusecopy_read_words(thread, words, sizeof(words));
	struct fusecopy_asker *asker;

	if (size <= 0 || !memmem(words, size, REFLINK, strlen(REFLINK)))
		return NULL;
	asker = malloc(sizeof(*asker));
	if (!asker)
		return NULL;
	if (fusecopy_identify(thread, -1, &asker->caller) < 0) {
		free(asker);
		return NULL;
	}
	asker->words_size = size;
	memcpy(asker->words, words, size);
	return asker;
}
