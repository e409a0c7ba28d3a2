/*
 * The inodes that the kernel knows, found by the file handles that events carry, and what is still to be said of them.
 */

#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nodes.h"
#include "request.h"

/* Buckets at first; a power of two. */
#define LEAST_BUCKETS 1024

/* Names that wait to be told. With more it costs less to have everything asked anew. */
#define MOST_NAMES 65536

/* Threads whose last OPEN was refused; so long, in ns, they are remembered: they come back at once. For as long after
 * the kernel was told of a name an OPEN may come that had found it before. */
#define REFUSED 256
#define REFUSED_NS 100000000

struct known {
	struct known *next_by_key;
	struct known *next_by_number;
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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t is_suspect = PTHREAD_COND_INITIALIZER;
static pthread_cond_t is_told; /* its clock is the monotonic one */

static struct known **by_key, **by_number;
static size_t buckets, count, hand;
static double blind_seconds;

static struct fusecopy_suspect *first, **last = &first, *taken;
static size_t names;
static int too_many; /* names were left out, and all are to be asked anew once more */
static int ended;

/* How many suspects there were, up to which the kernel has been told, and up to which they may be the names that an
 * OPEN came by. Read without the lock they may be out of date, but not for what the same thread has drained. */
static uint64_t raised, told, renamed;
static int64_t renamed_until_ns;

static struct {
	pid_t thread;
	int64_t until_ns;
} refused[REFUSED];

void fusecopy_known_begin(double seconds)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&is_told, &attributes);
	pthread_condattr_destroy(&attributes);
	blind_seconds = seconds;
}

/* ---- the table, under the lock ------------------------------------------------------------------------- */

static size_t bucket_of(uint64_t hash, size_t number)
{
	return (hash * 0x9e3779b97f4a7c15 >> 20) & (number - 1);
}

static void link_in(struct known *k)
{
	struct known **key = &by_key[bucket_of(k->key.low, buckets)];
	struct known **number = &by_number[bucket_of(k->number, buckets)];

	k->next_by_key = *key;
	*key = k;
	k->next_by_number = *number;
	*number = k;
}

/* Without memory the table stays as it is. */
static void resize(size_t wanted)
{
	struct known **old = by_number, **keys = calloc(wanted, sizeof(*keys)),
		     **numbers = calloc(wanted, sizeof(*keys));
	struct known *k, *next;
	size_t n, before = buckets;

	if (!keys || !numbers) {
		free(keys);
		free(numbers);
		return;
	}
	free(by_key);
	by_key = keys;
	by_number = numbers;
	buckets = wanted;
	for (n = 0; n < before; n++)
		for (k = old[n]; k; k = next) {
			next = k->next_by_number;
			link_in(k);
		}
	free(old);
}

static struct known *find(uint64_t number)
{
	struct known *k = buckets ? by_number[bucket_of(number, buckets)] : NULL;

	while (k && k->number != number)
		k = k->next_by_number;
	return k;
}

static struct known *find_key(struct fusecopy_key key)
{
	struct known *k = buckets ? by_key[bucket_of(key.low, buckets)] : NULL;

	while (k && (k->key.low != key.low || k->key.high != key.high))
		k = k->next_by_key;
	return k;
}

static void unlink_from_both(struct known *k)
{
	struct known **link = &by_key[bucket_of(k->key.low, buckets)];

	while (*link != k)
		link = &(*link)->next_by_key;
	*link = k->next_by_key;
	link = &by_number[bucket_of(k->number, buckets)];
	while (*link != k)
		link = &(*link)->next_by_number;
	*link = k->next_by_number;
}

static int is_none(struct fusecopy_key key)
{
	return key.low == 0 && key.high == 0;
}

/* The first and the last are worth telling. */
static void count_blind(int more)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	uint64_t before = watch->blind;

	watch->blind += more;
	if (!before != !watch->blind)
		fusecopy_watch_wake();
}

/* ---- who is known -------------------------------------------------------------------------------------- */

void fusecopy_watch_enter(uint64_t number, int descriptor, uint64_t parent)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	struct fusecopy_mark mark;
	struct known *k, *above;

	if (!watch->watches)
		return;
	mark = fusecopy_mark(descriptor);
	k = malloc(sizeof(*k));
	pthread_mutex_lock(&lock);
	if (k && count >= buckets)
		resize(buckets ? buckets * 2 : LEAST_BUCKETS);
	if (k && buckets) {
		above = find(parent);
		if (above)
			above->was_used = 1;
		*k = (struct known){
			.key = mark.key,
			.number = number,
			.parent = parent,
			.is_blind = mark.is_blind || (mark.follows_parent && above && above->is_blind),
			.has_mark = mark.has_mark,
			.follows_parent = mark.follows_parent,
			.was_used = 1,
		};
		if (is_none(k->key))
			k->key = (struct fusecopy_key){ number, UINT64_MAX }; /* no event's, and no other's */
		link_in(k);
		count++;
		watch->known = count;
		count_blind(k->is_blind);
		watch->marks += k->has_mark;
	} else {
		count_blind(1); /* from now on */
		free(k);
	}
	pthread_mutex_unlock(&lock);
}

void fusecopy_watch_forget(uint64_t number, int descriptor)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	struct known *k;

	if (!watch->watches)
		return;
	pthread_mutex_lock(&lock);
	k = find(number);
	if (k) {
		unlink_from_both(k);
		watch->known = --count;
		count_blind(-k->is_blind);
		watch->marks -= k->has_mark;
		if (buckets > LEAST_BUCKETS && count < buckets / 8)
			resize(buckets / 2);
	}
	pthread_mutex_unlock(&lock);
	if (k && k->has_mark)
		fusecopy_unmark(descriptor);
	free(k);
}

int fusecopy_is_known(uint64_t number)
{
	int known;

	pthread_mutex_lock(&lock);
	known = find(number) != NULL;
	pthread_mutex_unlock(&lock);
	return known;
}

double fusecopy_watch_limit(uint64_t number, double seconds)
{
	struct known *k;
	int blind;

	if (fusecopy_get_watch()->blind == 0 || seconds <= blind_seconds)
		return seconds;
	pthread_mutex_lock(&lock);
	k = find(number);
	blind = !k || k->is_blind;
	if (k)
		k->was_used = 1;
	pthread_mutex_unlock(&lock);
	return blind ? blind_seconds : seconds;
}

/* ---- suspects ------------------------------------------------------------------------------------------ */

/* Under the lock, like all that follow. Without memory for it everything else goes on; the kernel believes that one
 * inode for as long as it was told. */
static struct fusecopy_suspect *add(uint64_t number, const char *name)
{
	size_t length = name ? strlen(name) + 1 : 1;
	struct fusecopy_suspect *suspect = malloc(sizeof(*suspect) + length);

	if (!suspect)
		return NULL;
	*suspect = (struct fusecopy_suspect){ .number = number };
	memcpy(suspect->name, name ? name : "", length);
	*last = suspect;
	last = &suspect->next;
	__atomic_store_n(&raised, raised + 1, __ATOMIC_SEQ_CST);
	pthread_cond_signal(&is_suspect);
	return suspect;
}

static void suspect(struct known *k, int what)
{
	if (k->waiting || add(k->number, NULL))
		k->waiting |= what;
}

static void note_renamed(void)
{
	renamed = raised;
	__atomic_store_n(&renamed_until_ns, fusecopy_now_ns() + REFUSED_NS, __ATOMIC_SEQ_CST);
}

static void suspect_all(void)
{
	struct known *k;

	for (size_t n = 0; n < buckets; n++)
		for (k = by_number[n]; k; k = k->next_by_number) {
			suspect(k, FUSECOPY_ATTRIBUTES | FUSECOPY_PAGES);
			k->changed_ns = fusecopy_now_ns();
		}
	note_renamed();
}

void fusecopy_suspect(struct fusecopy_key key, int what, int64_t changed_ns)
{
	struct known *k;

	pthread_mutex_lock(&lock);
	k = find_key(key);
	if (k) {
		suspect(k, what);
		if (changed_ns)
			k->changed_ns = changed_ns;
	}
	pthread_mutex_unlock(&lock);
}

void fusecopy_suspect_name(struct fusecopy_key directory, const char *name, int may_be_open)
{
	struct known *k;
	int all = 0;

	pthread_mutex_lock(&lock);
	k = find_key(directory);
	if (k) {
		suspect(k, FUSECOPY_ATTRIBUTES | FUSECOPY_PAGES);
		all = names >= MOST_NAMES && !too_many;
		too_many |= all;
		if (!too_many && add(k->number, name))
			names++;
		if (may_be_open)
			note_renamed();
	}
	pthread_mutex_unlock(&lock);
	if (all)
		fusecopy_suspect_all();
}

void fusecopy_suspect_all(void)
{
	fusecopy_notice_epoch();
	pthread_mutex_lock(&lock);
	__atomic_fetch_add(&fusecopy_get_watch()->overflows, 1, __ATOMIC_RELAXED);
	suspect_all();
	pthread_mutex_unlock(&lock);
}

int fusecopy_watch_is_suspect(uint64_t number)
{
	struct known *k;
	int what;

	if (__atomic_load_n(&raised, __ATOMIC_SEQ_CST) == __atomic_load_n(&told, __ATOMIC_SEQ_CST))
		return 0;
	pthread_mutex_lock(&lock);
	k = find(number);
	what = k ? k->waiting | k->going : 0;
	pthread_mutex_unlock(&lock);
	return what;
}

int64_t fusecopy_watch_changed_ns(uint64_t number)
{
	struct known *k;
	int64_t changed_ns;

	pthread_mutex_lock(&lock);
	k = find(number);
	changed_ns = k ? k->changed_ns : 0;
	pthread_mutex_unlock(&lock);
	return changed_ns;
}

/* ---- too few marks ------------------------------------------------------------------------------------- */

/* Under the lock, like the next: have marks given up that were not used since the hand came by last. */
static size_t choose(uint64_t *numbers, size_t most)
{
	struct known *k;
	size_t chosen = 0;

	for (size_t n = 0; n < 2 * buckets && chosen < most; n++) {
		hand = (hand + 1) % buckets;
		for (k = by_number[hand]; k && chosen < most; k = k->next_by_number) {
			if (k->has_mark && !k->was_used) {
				k->has_mark = 0;
				k->is_given_up = 1;
				numbers[chosen++] = k->number;
			}
			k->was_used = 0;
		}
	}
	return chosen;
}

/* What was given up, and what was seen by it, is believed no longer. */
static void become_blind(struct known *k)
{
	struct known *above = k->follows_parent ? find(k->parent) : NULL;

	if (k->is_blind || (!k->is_given_up && !(above && above->is_given_up)))
		return;
	k->is_blind = 1;
	count_blind(1);
	suspect(k, FUSECOPY_ATTRIBUTES | FUSECOPY_PAGES);
}

static void forget_choice(struct known *k)
{
	k->is_given_up = 0;
}

static void each(void (*visit)(struct known *))
{
	for (size_t n = 0; n < buckets; n++)
		for (struct known *k = by_number[n]; k; k = k->next_by_number)
			visit(k);
}

/* Names are asked anew by an epoch; without epochs the server does it (filesystem/watching.py). */
void fusecopy_give_up_marks(size_t most)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	uint64_t *numbers = calloc(most, sizeof(*numbers));
	struct fusecopy_use use;
	size_t chosen = 0;

	if (!numbers)
		return;
	pthread_mutex_lock(&lock);
	if (buckets)
		chosen = choose(numbers, most);
	each(become_blind);
	each(forget_choice);
	watch->marks -= chosen;
	watch->given_up += chosen;
	note_renamed();
	pthread_mutex_unlock(&lock);
	fusecopy_notice_epoch();
	for (size_t n = 0; n < chosen; n++)
		if (fusecopy_begin_use(&use, numbers[n])) {
			fusecopy_unmark(use.descriptor);
			fusecopy_end_use(&use);
		}
	free(numbers);
	fusecopy_watch_wake();
}

void fusecopy_see_again(struct fusecopy_key key, int has_mark)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	struct known *k, *above;

	pthread_mutex_lock(&lock);
	k = find_key(key);
	above = k && k->follows_parent ? find(k->parent) : NULL;
	if (k && k->is_blind && (has_mark || (above && !above->is_blind))) {
		k->is_blind = 0;
		count_blind(-1);
		watch->marks += has_mark && !k->has_mark;
		k->has_mark |= has_mark;
	}
	pthread_mutex_unlock(&lock);
}

/* ---- OPEN ---------------------------------------------------------------------------------------------- */

/* Whether this is the first time for a thread; the next time soon after it is not. Under the lock. */
static int refuse_once(pid_t thread)
{
	int64_t now = fusecopy_now_ns();
	int free_place = -1;

	for (int n = 0; n < REFUSED; n++) {
		if (refused[n].thread == thread && refused[n].until_ns > now) {
			refused[n].until_ns = 0;
			return 0;
		}
		if (refused[n].until_ns <= now)
			free_place = n;
	}
	if (free_place < 0)
		return 0;
	refused[free_place].thread = thread;
	refused[free_place].until_ns = now + REFUSED_NS;
	return 1;
}

int fusecopy_watch_refuses(uint64_t number, pid_t thread)
{
	int refuses;

	if (fusecopy_watch_is_suspect(number))
		fusecopy_notice_inode(number, FUSECOPY_ATTRIBUTES);
	if (__atomic_load_n(&renamed_until_ns, __ATOMIC_SEQ_CST) == 0 || thread == 0)
		return 0;
	pthread_mutex_lock(&lock);
	if (renamed <= told && renamed_until_ns < fusecopy_now_ns())
		renamed_until_ns = 0;
	refuses = renamed_until_ns && refuse_once(thread);
	pthread_mutex_unlock(&lock);
	return refuses;
}

/* ---- telling ------------------------------------------------------------------------------------------- */

int fusecopy_take_suspects(struct fusecopy_suspect **suspects)
{
	struct fusecopy_suspect *s;
	struct known *k;
	int were_too_many;

	pthread_mutex_lock(&lock);
	while (!first && !ended)
		pthread_cond_wait(&is_suspect, &lock);
	for (s = first; s; s = s->next) {
		if (s->name[0])
			continue;
		k = find(s->number);
		if (!k)
			continue;
		s->what = k->waiting;
		k->going = k->waiting;
		k->waiting = 0;
	}
	*suspects = taken = first;
	first = NULL;
	last = &first;
	names = 0;
	were_too_many = too_many;
	too_many = 0;
	pthread_mutex_unlock(&lock);
	if (were_too_many)
		fusecopy_suspect_all();
	return *suspects != NULL;
}

void fusecopy_told_suspects(void)
{
	struct fusecopy_suspect *s;
	struct known *k;
	uint64_t now = told;

	pthread_mutex_lock(&lock);
	while ((s = taken)) {
		k = s->name[0] ? NULL : find(s->number);
		if (k)
			k->going = 0;
		taken = s->next;
		free(s);
		now++;
	}
	if (told < renamed && now >= renamed)
		renamed_until_ns = fusecopy_now_ns() + REFUSED_NS;
	__atomic_store_n(&told, now, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&is_told);
	pthread_mutex_unlock(&lock);
}

void fusecopy_end_suspects(void)
{
	pthread_mutex_lock(&lock);
	ended = 1;
	pthread_cond_broadcast(&is_suspect);
	pthread_cond_broadcast(&is_told);
	pthread_mutex_unlock(&lock);
}

int fusecopy_await_told(double seconds)
{
	struct timespec until;
	uint64_t number;
	int result;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)seconds;
	pthread_mutex_lock(&lock);
	number = raised;
	while (told < number && !ended)
		if (pthread_cond_timedwait(&is_told, &lock, &until) != 0)
			break;
	result = told >= number;
	pthread_mutex_unlock(&lock);
	return result;
}
