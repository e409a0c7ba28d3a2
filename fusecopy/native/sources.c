/*
 * The files that were read, by their identity: what is written may have come from there, and its report looks at them.
 * One stays as long as the kernel knows it, or a little longer: where there are many, those that it has forgotten are
 * taken out.
 */

#include "sources.h"

#include "borrowing.h"

#include <pthread.h>
#include <stdlib.h>

#define LEAST_PLACES 256

struct source {
	struct fusecopy_identity file; /* of no device: a free place */
	uint64_t number;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Open addressing with linear probing, of a power of two of places. */
static struct source *sources;
static size_t places, used;
static int is_blind; /* there was no memory: any may have been read */

/* Under the lock, in a table that has a free place: the one that a file has, or else is to get. */
static struct source *place_of(const struct fusecopy_identity *file)
{
	size_t place = (file->ino + file->device) * 0x9e3779b97f4a7c15 >> 32;

	for (place &= places - 1; sources[place].file.device; place = (place + 1) & (places - 1))
		if (sources[place].file.ino == file->ino && sources[place].file.device == file->device)
			break;
	return &sources[place];
}

static void add(const struct source *source)
{
	struct source *place = place_of(&source->file);

	used += !place->file.device;
	*place = *source;
}

static int is_known(const struct source *source)
{
	return source->file.device && fusecopy_is_inode(source->number);
}

/* Under the lock: a table of those that the kernel still knows, with room for as many again. */
static void renew(void)
{
	struct source *old = sources, *new;
	const size_t old_places = places;
	size_t known = 0, wanted = LEAST_PLACES;

	for (size_t n = 0; n < old_places; n++)
		known += is_known(&old[n]);
	while (wanted < 4 * known)
		wanted *= 2;
	new = calloc(wanted, sizeof(*new));
	is_blind = !new;
	if (is_blind)
		return;
	sources = new;
	places = wanted;
	used = 0;
	for (size_t n = 0; n < old_places; n++)
		if (is_known(&old[n]))
			add(&old[n]);
	free(old);
}

void fusecopy_note_source(uint64_t device, uint64_t ino, uint64_t number)
{
	const struct source source = { { device, ino }, number };

	pthread_mutex_lock(&lock);
	if (2 * used >= places && !is_blind)
		renew();
	if (!is_blind)
		add(&source);
	pthread_mutex_unlock(&lock);
}

int fusecopy_is_source(const struct fusecopy_identity *file)
{
	int is;

	pthread_mutex_lock(&lock);
	is = is_blind || (places && place_of(file)->file.device);
	pthread_mutex_unlock(&lock);
	return is;
}
