/*
 * What is done after a request has its answer: a clone is proven and reported, the accounts of a released file are
 * closed. Python does it on a thread of its own, in the order of the answers, several at a time: a program waits for
 * none of it, and what is done at one go costs less than what is done request by request.
 *
 * Nothing may come in between. What would change the files of a clone that is not proven yet, or names that its
 * report tells, waits until it is (fusecopy_barrier and its like). So it does for copies that Python has answered and
 * is proving on a thread of the loop (fusecopy_begin_proof).
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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_wanted; /* its clock is the monotonic one */
static pthread_cond_t is_done = PTHREAD_COND_INITIALIZER;

/* A ring of so many places, which grows. */
static struct fusecopy_event **events;
static uint64_t places;

/* How many there were, how many of them are done; up to which requests wait for them, the one that waits for most of
 * them and the one that waits for the fewest. */
static uint64_t noted, done, wanted, nearest;
static uint64_t taken; /* up to which they are being done */
static int resting;
static int ended;

/* Copies that are being proven, and how many there ever were. */
static struct fusecopy_proof *proofs;
static uint64_t proofs_begun;

/* Of the pages and blocks at the ends of a range a part lies outside of it: what comes this near may change them. */
#define NEARBY 65536

__attribute__((constructor)) static void begin(void)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&is_wanted, &attributes);
	pthread_condattr_destroy(&attributes);
}

static struct fusecopy_event **event(uint64_t number)
{
	return &events[number % places];
}

/* Whether there is something that a request may have to wait for. */
static int is_busy(void)
{
	return __atomic_load_n(&noted, __ATOMIC_SEQ_CST) != __atomic_load_n(&done, __ATOMIC_SEQ_CST) ||
	       __atomic_load_n(&proofs, __ATOMIC_SEQ_CST) != NULL;
}

/* Under the lock. */
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

/* The executable's path is last in it, and mostly short. */
static size_t size_of(const struct fusecopy_event *what)
{
	return offsetof(struct fusecopy_event, caller.exe) + what->caller.exe_size;
}

/* Under the lock; without memory the ring stays as it is. */
static void grow(void)
{
	uint64_t more = places ? 2 * places : LEAST_PLACES;
	struct fusecopy_event **old = events, **new = malloc(more * sizeof(*new));

	if (!new)
		return;
	for (uint64_t number = done; number < noted; number++)
		new[number % more] = old[number % places];
	events = new;
	places = more;
	free(old);
}

/* Under the lock: a place for `what`, once there is one. */
static struct fusecopy_event *await_place(const struct fusecopy_event *what)
{
	struct fusecopy_event *place = NULL;

	while (what->kind == FUSECOPY_CLONED && noted - done >= LIMIT)
		wait_for(noted - LIMIT / 2);
	while (!place) {
		if (noted - done == places)
			grow();
		place = noted - done < places ? malloc(size_of(what)) : NULL;
		if (!place && noted == done)
			abort(); /* nothing would give memory back, and the file stay open for ever */
		if (!place)
			wait_for(done + 1);
	}
	return place;
}

void fusecopy_note(const struct fusecopy_event *what)
{
	struct fusecopy_event *place;

	pthread_mutex_lock(&lock);
	place = await_place(what);
	memcpy(place, what, size_of(what));
	*event(noted) = place;
	__atomic_store_n(&noted, noted + 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&lock);
}

void fusecopy_wake(void)
{
	pthread_mutex_lock(&lock);
	if (resting || noted - done == BATCH)
		pthread_cond_signal(&is_wanted);
	pthread_mutex_unlock(&lock);
}

/* ---- requests that wait ------------------------------------------------------------------------------- */

static int is_proven(uint64_t number)
{
	for (const struct fusecopy_proof *proof = proofs; proof; proof = proof->next)
		if (proof->number <= number)
			return 0;
	return 1;
}

void fusecopy_barrier(void)
{
	uint64_t begun;

	if (!is_busy())
		return;
	pthread_mutex_lock(&lock);
	begun = proofs_begun;
	wait_for(noted);
	while (!is_proven(begun))
		pthread_cond_wait(&is_done, &lock);
	pthread_mutex_unlock(&lock);
}

static int is(const struct fusecopy_file *file, uint64_t device, uint64_t ino)
{
	return file->ino == ino && file->device == device;
}

/* The bytes from `low` to `high` of a file are about to change. */
struct change {
	const struct fusecopy_file *file;
	uint64_t low;
	uint64_t high;
	int is_exact; /* else up to NEARBY further ones, and the rest of a block that the file ends in */
};

/* Whether it changes what the proof of a copy looks at. */
static int changes(const struct change *change, const struct fusecopy_file *source,
		   const struct fusecopy_file *destination, uint64_t off_out, uint64_t copied)
{
	uint64_t nearby = change->is_exact ? 0 : NEARBY;
	uint64_t end = off_out + copied;

	if (is(source, change->file->device, change->file->ino))
		return 1;
	if (!is(destination, change->file->device, change->file->ino) || off_out >= change->high + nearby)
		return 0;
	return change->low < end + nearby || (!change->is_exact && end % NEARBY);
}

static int changes_clone(const struct change *change, const struct fusecopy_event *event)
{
	return event->kind == FUSECOPY_CLONED &&
	       changes(change, event->source, event->destination, event->clone.off_out, event->clone.copied);
}

static int changes_proof(const struct change *change)
{
	for (const struct fusecopy_proof *proof = proofs; proof; proof = proof->next)
		if (changes(change, proof->source, proof->destination, proof->off_out, proof->copied))
			return 1;
	return 0;
}

static void wait_for_change(const struct change *change)
{
	uint64_t number;

	if (!is_busy())
		return;
	pthread_mutex_lock(&lock);
	for (number = noted; number > done; number--)
		if (changes_clone(change, *event(number - 1))) {
			wait_for(number);
			break;
		}
	while (changes_proof(change))
		pthread_cond_wait(&is_done, &lock);
	pthread_mutex_unlock(&lock);
}

void fusecopy_barrier_write(const struct fusecopy_file *file, int64_t off, uint64_t length)
{
	const struct change change = { .file = file, .low = off, .high = off + length };

	wait_for_change(&change);
}

void fusecopy_barrier_clone(const struct fusecopy_file *file, uint64_t size, uint64_t end)
{
	const struct change change = { .file = file, .low = size, .high = end, .is_exact = 1 };

	wait_for_change(&change);
}

/* ---- copies that are proven where they were answered ---------------------------------------------------- */

void fusecopy_begin_proof(struct fusecopy_proof *proof)
{
	pthread_mutex_lock(&lock);
	proof->number = ++proofs_begun;
	proof->next = proofs;
	__atomic_store_n(&proofs, proof, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&lock);
}

void fusecopy_end_proof(const struct fusecopy_proof *proof)
{
	struct fusecopy_proof **link = &proofs;

	pthread_mutex_lock(&lock);
	while (*link != proof)
		link = &(*link)->next;
	__atomic_store_n(link, proof->next, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&is_done);
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
		free(*event(done));
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
		    first->clone.refused == clone->clone.refused && is_same(&first->caller, &clone->caller))
			return events->alike[n - 1];
	}
	return events->count;
}

static void add(struct fusecopy_events *events, struct fusecopy_event *one)
{
	events->first[events->count] = one;
	events->alike[events->count] = first_alike(events, one);
	events->clones[events->count] = one->clone;
	events->count++;
}

/* Under the lock: clones that follow one another, no more than somebody waits for, or one other event. */
static void take(struct fusecopy_events *events)
{
	uint64_t end = done < nearest && nearest < noted ? nearest : noted;

	events->count = 0;
	events->kind = (*event(done))->kind;
	if (events->kind != FUSECOPY_CLONED)
		end = done + 1;
	for (taken = done; taken < end && events->count < FUSECOPY_TOGETHER; taken++) {
		if ((*event(taken))->kind != events->kind)
			break;
		add(events, *event(taken));
	}
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
	for (int n = 0; n < count; n++) {
		clones[n]->shared = totals[n][FC_SHARED];
		clones[n]->holes = totals[n][FC_HOLE];
		clones[n]->unprovable = totals[n][FC_UNPROVABLE] + totals[n][FC_ENCODED];
	}
}

/* Here, where nobody waits for Python's lock meanwhile. */
static void prove(struct fusecopy_events *events)
{
	for (uint32_t n = 0; n < events->count; n++) {
		if (events->alike[n] != n)
			continue;
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
