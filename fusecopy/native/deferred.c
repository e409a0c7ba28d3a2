/*
 * What is done after a request has its answer: a clone is proven and reported, the accounts of a released file are
 * closed. Python does it on a thread of its own, in the order of the answers, several at a time: a program waits for
 * none of it, and what is done at one go costs less than what is done request by request.
 *
 * Nothing may come in between that would make a report tell something else: such a request waits (barrier.c). Who
 * waits for a file's events must find them among many thousands, so they are found by their files.
 */

#include "deferred.h"

#include "copying/calls.h"
#include "copying/sharing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* So many may be waiting to be done; then the next clone waits. A release does not: it takes no place that its file
 * did not have, and who has closed a file must not hold up others when the backing is slow. */
#define LIMIT 1024
#define LEAST_PLACES 256

/* With so many, or after so long, they are begun; sooner where a request waits for one. */
#define BATCH FUSECOPY_TOGETHER
#define LINGER_NS 10000000

/* Of what takes long, so many at one go, because others may come to wait for the first. */
#define FEW 32

/* An event that waits to be done. Its files are known by their identity, because they may be gone before it is taken
 * out; each is linked to the one before that has the same hash. A link is twice the event's number from 1 on, and
 * which of its files; 0, and what is done, ends a chain. */
struct place {
	struct fusecopy_event *event;
	struct fusecopy_identity of[2];
	uint64_t older[2];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_wanted; /* its clock is the monotonic one */
static pthread_cond_t is_done = PTHREAD_COND_INITIALIZER;

/* A ring of so many places, a power of two, which grows; and of each hash the latest link. */
static struct place *ring;
static uint64_t *latest;
static uint64_t places;

/* How many there were, how many of them are done; up to which requests wait for them, the one that waits for most of
 * them and the one that waits for the fewest. */
static uint64_t noted, done, wanted, nearest;
static uint64_t taken;			   /* up to which they are being done */
static uint64_t last_paired, last_telling; /* of those whose reports may tell of other files than their own */
static int resting;
static int ended;

__attribute__((constructor)) static void begin(void)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&is_wanted, &attributes);
	pthread_condattr_destroy(&attributes);
}

/* ---- the ring, under the lock -------------------------------------------------------------------------- */

static struct place *place_of(uint64_t number)
{
	return &ring[number & (places - 1)];
}

/* Inode numbers come in sequence: multiply by 2^64 over the golden ratio. */
static uint64_t *chain_of(const struct fusecopy_identity *file)
{
	return &latest[((file->ino + file->device) * 0x9e3779b97f4a7c15 >> 32) & (places - 1)];
}

static void put(uint64_t number, const struct place *what)
{
	struct place *place = place_of(number);

	*place = *what;
	for (int which = 0; which < 2; which++) {
		uint64_t *chain = chain_of(&place->of[which]);

		if (!place->of[which].device)
			continue;
		place->older[which] = *chain;
		*chain = 2 * (number + 1) + which;
	}
}

/* Without memory the ring stays as it is. */
static void grow(void)
{
	const uint64_t before = places, more = places ? 2 * places : LEAST_PLACES;
	struct place *old = ring, *new = malloc(more * sizeof(*new));
	uint64_t *chains = calloc(more, sizeof(*chains));

	if (!new || !chains) {
		free(new);
		free(chains);
		return;
	}
	free(latest);
	ring = new;
	latest = chains;
	places = more;
	for (uint64_t number = done; number < noted; number++)
		put(number, &old[number & (before - 1)]);
	free(old);
}

static void wait_for(uint64_t number)
{
	while (done < number) {
		if (wanted < number)
			wanted = number;
		if (nearest <= done || number < nearest)
			nearest = number;
		pthread_cond_signal(&is_wanted);
		pthread_cond_wait(&is_done, &lock);
	}
}

/* Of a clone the executable's path is last in it, and mostly short; of others there are only the files. */
static size_t size_of(const struct fusecopy_event *what)
{
	if (what->kind != FUSECOPY_CLONED)
		return offsetof(struct fusecopy_event, clone);
	return offsetof(struct fusecopy_event, caller.exe) + what->caller.exe_size;
}

/* Memory for `what`, once there is some and a place for it. */
static struct fusecopy_event *await_room(const struct fusecopy_event *what)
{
	struct fusecopy_event *event = NULL;

	while (what->kind == FUSECOPY_CLONED && noted - done >= LIMIT)
		wait_for(noted - LIMIT / 2);
	while (!event) {
		if (noted - done == places)
			grow();
		event = noted - done < places ? malloc(size_of(what)) : NULL;
		if (!event && noted == done)
			abort(); /* nothing would give memory back, and the file stay open for ever */
		if (!event)
			wait_for(done + 1);
	}
	return event;
}

static struct fusecopy_identity identity_of(const struct fusecopy_file *file)
{
	return file ? (struct fusecopy_identity){ file->device, file->ino } : (struct fusecopy_identity){ 0, 0 };
}

/* ---- for requests -------------------------------------------------------------------------------------- */

void fusecopy_note(const struct fusecopy_event *what)
{
	struct place place = { .of = { identity_of(what->source), identity_of(what->destination) } };

	pthread_mutex_lock(&lock);
	place.event = await_room(what);
	memcpy(place.event, what, size_of(what));
	put(noted, &place);
	__atomic_store_n(&noted, noted + 1, __ATOMIC_SEQ_CST);
	if (what->kind != FUSECOPY_CLONED && what->source->is_written)
		last_paired = noted;
	if (what->kind != FUSECOPY_CLONED && what->source->tells_others)
		last_telling = noted;
	pthread_mutex_unlock(&lock);
}

void fusecopy_wake(void)
{
	pthread_mutex_lock(&lock);
	if (resting || noted - done == BATCH)
		pthread_cond_signal(&is_wanted);
	pthread_mutex_unlock(&lock);
}

int fusecopy_is_pending(void)
{
	return __atomic_load_n(&noted, __ATOMIC_SEQ_CST) != __atomic_load_n(&done, __ATOMIC_SEQ_CST);
}

void fusecopy_await_all(void)
{
	pthread_mutex_lock(&lock);
	wait_for(noted);
	pthread_mutex_unlock(&lock);
}

/* Under the lock: up to where. */
static uint64_t last_disturbed(const struct fusecopy_identity *file, fusecopy_disturbs *disturbs, const void *change)
{
	uint64_t link = places ? *chain_of(file) : 0;

	while (link / 2 > done) {
		const struct place *place = place_of(link / 2 - 1);
		const int which = link % 2;

		if (place->of[which].ino == file->ino && place->of[which].device == file->device &&
		    disturbs(change, place->event, which == 0))
			return link / 2;
		link = place->older[which];
	}
	return 0;
}

void fusecopy_await_events(const struct fusecopy_identity *file, fusecopy_disturbs *disturbs, const void *change)
{
	pthread_mutex_lock(&lock);
	wait_for(last_disturbed(file, disturbs, change));
	pthread_mutex_unlock(&lock);
}

void fusecopy_await_telling(int is_source)
{
	pthread_mutex_lock(&lock);
	wait_for(is_source && last_paired > last_telling ? last_paired : last_telling);
	pthread_mutex_unlock(&lock);
}

/* ---- the thread that does them ------------------------------------------------------------------------- */

static void linger(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LINGER_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (!ended && wanted <= done && noted - done < BATCH)
		if (pthread_cond_timedwait(&is_wanted, &lock, &until) != 0)
			return;
}

static void rest(void)
{
	resting = 1;
	while (noted == done && !ended)
		pthread_cond_wait(&is_wanted, &lock);
	resting = 0;
	linger();
}

/* Under the lock: what was taken is done. */
static void finish(void)
{
	for (; done < taken; __atomic_store_n(&done, done + 1, __ATOMIC_SEQ_CST))
		free(place_of(done)->event);
	if (done >= nearest) /* whoever waits for more says so anew */
		pthread_cond_broadcast(&is_done);
}

static int is_same(const struct fusecopy_caller *one, const struct fusecopy_caller *other)
{
	return one->pid == other->pid && one->parent == other->parent && one->group == other->group &&
	       one->uid == other->uid && one->comm_size == other->comm_size && one->args_size == other->args_size &&
	       one->exe_size == other->exe_size && !memcmp(one->comm, other->comm, one->comm_size) &&
	       !memcmp(one->args, other->args, one->args_size) && !memcmp(one->exe, other->exe, one->exe_size);
}

/* The first of the clones that has its files and its caller; the last ones are the likeliest. */
static uint32_t first_alike(const struct fusecopy_events *events, const struct fusecopy_event *clone)
{
	for (uint32_t n = events->count; n > 0; n--) {
		const struct fusecopy_event *first = events->first[events->alike[n - 1]];

		if (first->source == clone->source && first->destination == clone->destination &&
		    first->clone.refused == clone->clone.refused && first->clone.proven == clone->clone.proven &&
		    is_same(&first->caller, &clone->caller))
			return events->alike[n - 1];
	}
	return events->count;
}

static void add(struct fusecopy_events *events, struct fusecopy_event *one)
{
	events->first[events->count] = one;
	if (one->kind == FUSECOPY_CLONED) {
		events->alike[events->count] = first_alike(events, one);
		events->clones[events->count] = one->clone;
	}
	events->count++;
}

/* Under the lock: events of one kind that follow one another, no more than somebody waits for. */
static void take(struct fusecopy_events *events)
{
	uint64_t end = done < nearest && nearest < noted ? nearest : noted;

	events->count = 0;
	events->kind = place_of(done)->event->kind;
	if (events->kind != FUSECOPY_CLONED && end > done + FEW)
		end = done + FEW;
	for (taken = done; taken < end && events->count < FUSECOPY_TOGETHER; taken++) {
		if (place_of(taken)->event->kind != events->kind)
			break;
		add(events, place_of(taken)->event);
	}
}

static void fill(struct fusecopy_clone *clone, const uint64_t totals[FC_STATES])
{
	clone->shared = totals[FC_SHARED];
	clone->holes = totals[FC_HOLE];
	clone->unprovable = totals[FC_UNPROVABLE] + totals[FC_ENCODED];
}

/* Those from `first` on that are like it, by one walk for those that follow one another. */
static void prove_alike(struct fusecopy_events *events, uint32_t first)
{
	struct fc_range ranges[FUSECOPY_TOGETHER];
	uint64_t totals[FUSECOPY_TOGETHER][FC_STATES];
	struct fusecopy_clone *clones[FUSECOPY_TOGETHER];
	int count = 0;

	for (uint32_t n = first; n < events->count; n++) {
		struct fusecopy_clone *clone = &events->clones[n];

		if (events->alike[n] != first)
			continue;
		clones[count] = clone;
		ranges[count++] = (struct fc_range){ clone->off_in, clone->off_out, clone->copied };
	}
	fc_totals_of_clones(events->first[first]->source->fd, events->first[first]->destination->fd, ranges, count,
			    totals);
	for (int n = 0; n < count; n++)
		fill(clones[n], totals[n]);
}

void fusecopy_prove(struct fusecopy_event *event)
{
	struct fusecopy_clone *clone = &event->clone;
	const struct fc_range range = { clone->off_in, clone->off_out, clone->copied };
	uint64_t totals[FC_STATES];

	fc_totals_of_clones(event->source->fd, event->destination->fd, &range, 1, &totals);
	fill(clone, totals);
	clone->proven = FUSECOPY_PROVEN;
}

/* Here, where nobody waits for Python's lock meanwhile. */
static void prove(struct fusecopy_events *events)
{
	for (uint32_t n = 0; n < events->count; n++) {
		if (events->alike[n] != n)
			continue;
		if (events->clones[n].proven == FUSECOPY_LATER)
			prove_alike(events, n);
		events->generations[n] = fc_generation(events->first[n]->destination->fd);
	}
}

int fusecopy_next_events(struct fusecopy_events *next)
{
	int found;

	pthread_mutex_lock(&lock);
	finish();
	if (noted == done)
		rest();
	found = noted > done;
	if (found)
		take(next);
	pthread_mutex_unlock(&lock);
	if (found && next->kind == FUSECOPY_CLONED)
		prove(next);
	return found;
}

void fusecopy_end_events(void)
{
	pthread_mutex_lock(&lock);
	ended = 1;
	pthread_cond_signal(&is_wanted);
	pthread_mutex_unlock(&lock);
}
