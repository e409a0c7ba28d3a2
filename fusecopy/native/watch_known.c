/*
 * The inodes that the kernel knows, found by the file handles that events carry.
 */

#include "watch_known.h"

#include <pthread.h>
#include <stdlib.h>

#include "borrowing.h"

/* Buckets at first; a power of two. */
#define LEAST_BUCKETS 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fusecopy_known **by_key, **by_number;
static size_t buckets, count, hand;
static double blind_seconds;

void fusecopy_known_begin(double seconds)
{
	blind_seconds = seconds;
}

pthread_mutex_t *fusecopy_known_lock(void)
{
	return &lock;
}

/* ---- the table, under the lock ------------------------------------------------------------------------- */

static size_t bucket_of(uint64_t hash, size_t number)
{
	return (hash * 0x9e3779b97f4a7c15 >> 20) & (number - 1);
}

static void link_in(struct fusecopy_known *k)
{
	struct fusecopy_known **key = &by_key[bucket_of(k->key.low, buckets)];
	struct fusecopy_known **number = &by_number[bucket_of(k->number, buckets)];

	k->next_by_key = *key;
	*key = k;
	k->next_by_number = *number;
	*number = k;
}

/* Without memory the table stays as it is. */
static void resize(size_t wanted)
{
	struct fusecopy_known **old = by_number, **keys = calloc(wanted, sizeof(*keys)),
			      **numbers = calloc(wanted, sizeof(*keys));
	struct fusecopy_known *k, *next;
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

struct fusecopy_known *fusecopy_find_number(uint64_t number)
{
	struct fusecopy_known *k = buckets ? by_number[bucket_of(number, buckets)] : NULL;

	while (k && k->number != number)
		k = k->next_by_number;
	return k;
}

struct fusecopy_known *fusecopy_find_key(struct fusecopy_key key)
{
	struct fusecopy_known *k = buckets ? by_key[bucket_of(key.low, buckets)] : NULL;

	while (k && (k->key.low != key.low || k->key.high != key.high))
		k = k->next_by_key;
	return k;
}

static void unlink_from_both(struct fusecopy_known *k)
{
	struct fusecopy_known **link = &by_key[bucket_of(k->key.low, buckets)];

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
	uint64_t before = __atomic_fetch_add(&watch->blind, more, __ATOMIC_RELAXED);

	if (!before != !(before + more))
		fusecopy_watch_wake();
}

/* ---- who is known -------------------------------------------------------------------------------------- */

void fusecopy_watch_enter(uint64_t number, int descriptor, uint64_t parent)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	struct fusecopy_mark mark;
	struct fusecopy_known *k, *above;

	if (!watch->watches)
		return;
	mark = fusecopy_mark(descriptor);
	k = malloc(sizeof(*k));
	pthread_mutex_lock(&lock);
	if (k && count >= buckets)
		resize(buckets ? buckets * 2 : LEAST_BUCKETS);
	if (k && buckets) {
		above = fusecopy_find_number(parent);
		if (above)
			above->was_used = 1;
		*k = (struct fusecopy_known){
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
		__atomic_fetch_add(&watch->marks, k->has_mark, __ATOMIC_RELAXED);
	} else {
		count_blind(1); /* from now on */
		free(k);
	}
	pthread_mutex_unlock(&lock);
}

void fusecopy_watch_forget(uint64_t number, int descriptor)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	struct fusecopy_known *k;

	if (!watch->watches)
		return;
	pthread_mutex_lock(&lock);
	k = fusecopy_find_number(number);
	if (k) {
		unlink_from_both(k);
		watch->known = --count;
		count_blind(-k->is_blind);
		__atomic_fetch_sub(&watch->marks, k->has_mark, __ATOMIC_RELAXED);
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
	known = fusecopy_find_number(number) != NULL;
	pthread_mutex_unlock(&lock);
	return known;
}

double fusecopy_watch_limit(uint64_t number, double seconds)
{
	struct fusecopy_known *k;
	int blind;

	if (__atomic_load_n(&fusecopy_get_watch()->blind, __ATOMIC_RELAXED) == 0 || seconds <= blind_seconds)
		return seconds;
	pthread_mutex_lock(&lock);
	k = fusecopy_find_number(number);
	blind = !k || k->is_blind;
	if (k)
		k->was_used = 1;
	pthread_mutex_unlock(&lock);
	return blind ? blind_seconds : seconds;
}

int fusecopy_watch_changed_since(int64_t ns, const uint64_t *numbers, int count)
{
	int changed = 0;

	fusecopy_watch_drain();
	pthread_mutex_lock(&lock);
	for (int n = 0; n < count && !changed; n++) {
		const struct fusecopy_known *k = fusecopy_find_number(numbers[n]);

		changed = k && k->changed_ns > ns;
	}
	pthread_mutex_unlock(&lock);
	return changed;
}

/* ---- too few marks ------------------------------------------------------------------------------------- */

/* Under the lock, like the next: have marks given up that were not used since the hand came by last. */
static size_t choose(uint64_t *numbers, size_t most)
{
	struct fusecopy_known *k;
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
static void become_blind(struct fusecopy_known *k)
{
	struct fusecopy_known *above = k->follows_parent ? fusecopy_find_number(k->parent) : NULL;

	if (k->is_blind || (!k->is_given_up && !(above && above->is_given_up)))
		return;
	k->is_blind = 1;
	count_blind(1);
	fusecopy_suspect_known(k, FUSECOPY_ATTRIBUTES | FUSECOPY_PAGES);
}

static void forget_choice(struct fusecopy_known *k)
{
	k->is_given_up = 0;
}

void fusecopy_each_known(void (*visit)(struct fusecopy_known *))
{
	for (size_t n = 0; n < buckets; n++)
		for (struct fusecopy_known *k = by_number[n]; k; k = k->next_by_number)
			visit(k);
}

/* Names are asked anew by an epoch; without epochs the server does it (filesystem/watching.py). */
void fusecopy_give_up_marks(size_t most)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	uint64_t *numbers = calloc(most, sizeof(*numbers));
	struct fusecopy_inode *inode;
	size_t chosen = 0;

	if (!numbers)
		return;
	pthread_mutex_lock(&lock);
	if (buckets)
		chosen = choose(numbers, most);
	fusecopy_each_known(become_blind);
	fusecopy_each_known(forget_choice);
	__atomic_fetch_sub(&watch->marks, chosen, __ATOMIC_RELAXED);
	watch->given_up += chosen;
	fusecopy_note_renamed();
	pthread_mutex_unlock(&lock);
	fusecopy_notice_epoch();
	for (size_t n = 0; n < chosen; n++)
		if ((inode = fusecopy_borrow(numbers[n]))) {
			fusecopy_unmark(inode->descriptor);
			fusecopy_give_back(inode);
		}
	free(numbers);
	fusecopy_watch_wake();
}

void fusecopy_see_again(struct fusecopy_key key, int has_mark)
{
	struct fusecopy_watch *watch = fusecopy_get_watch();
	struct fusecopy_known *k, *above;

	pthread_mutex_lock(&lock);
	k = fusecopy_find_key(key);
	above = k && k->follows_parent ? fusecopy_find_number(k->parent) : NULL;
	if (k && k->is_blind && (has_mark || (above && !above->is_blind))) {
		k->is_blind = 0;
		count_blind(-1);
		__atomic_fetch_add(&watch->marks, has_mark && !k->has_mark, __ATOMIC_RELAXED);
		k->has_mark |= has_mark;
	}
	pthread_mutex_unlock(&lock);
}
