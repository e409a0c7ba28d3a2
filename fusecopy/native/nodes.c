/*
 * The inodes that the kernel knows, for handlers without Python.
 *
 * filesystem/inodes.py owns the inodes and decides which of their descriptors are open. It lends them to this table,
 * takes each back before it is closed, and has it closed here: as long as a handler uses a descriptor its number
 * must not become another file's, and that may be long where the backing is on a network. So the last user closes
 * it, and no lock is held while a handler waits.
 */

#include "nodes.h"
#include "watch.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/* One page of places. */
#define LEAST_BITS 7

struct node {
	uint64_t number; /* 0: a free place */
	int64_t told_size;
	double timeout; /* seconds for which the kernel may believe its attributes */
	int descriptor; /* -1 while it is closed */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fusecopy_use *uses;

/* Open addressing with linear probing, of 2^bits places in a mapping of their own, which goes back to the system when
 * a million inodes are forgotten; malloc(3) would keep it. */
static struct node *places;
static size_t count;
static int bits;

/* ---- the table, under the lock ------------------------------------------------------------------------ */

static size_t capacity(void)
{
	return places ? (size_t)1 << bits : 0;
}

static size_t after(size_t place)
{
	return (place + 1) & (capacity() - 1);
}

/* Numbers come in sequence, and in several of them that begin elsewhere: multiply by 2^64 over the golden ratio. */
static size_t home(uint64_t number)
{
	return number * 0x9e3779b97f4a7c15 >> (64 - bits);
}

/* The place that a number has, or else is to get. */
static struct node *place_of(uint64_t number)
{
	size_t place = home(number);

	while (places[place].number && places[place].number != number)
		place = after(place);
	return &places[place];
}

static struct node *find(uint64_t number)
{
	struct node *node = places ? place_of(number) : NULL;

	return node && node->number ? node : NULL;
}

static struct node *lock_and_find(uint64_t number)
{
	pthread_mutex_lock(&lock);
	return find(number);
}

/* Without memory the table stays as it is. */
static void resize(int new_bits)
{
	struct node *old = places;
	const size_t old_capacity = capacity();
	struct node *new =
		mmap(NULL, sizeof(*new) << new_bits, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (new == MAP_FAILED)
		return;
	places = new;
	bits = new_bits;
	for (size_t place = 0; place < old_capacity; place++)
		if (old[place].number)
			*place_of(old[place].number) = old[place];
	if (old)
		munmap(old, old_capacity * sizeof(*old));
}

/* What follows moves up, unless it would then lie before its home and not be found. */
static void vacate(size_t hole)
{
	size_t mask = capacity() - 1;

	for (size_t place = after(hole); places[place].number; place = after(place))
		if (((place - home(places[place].number)) & mask) >= ((place - hole) & mask)) {
			places[hole] = places[place];
			hole = place;
		}
	places[hole].number = 0;
}

static struct fusecopy_use *user_of(int descriptor)
{
	struct fusecopy_use *use = uses;

	while (use && use->descriptor != descriptor)
		use = use->next;
	return use;
}

/* ---- for the owner ------------------------------------------------------------------------------------ */

void fusecopy_node_enter(uint64_t number, int descriptor, double timeout, uint64_t parent)
{
	fusecopy_watch_enter(number, descriptor, parent);
	pthread_mutex_lock(&lock);
	if (count >= capacity() / 4 * 3)
		resize(places ? bits + 1 : LEAST_BITS);
	if (count + 1 < capacity()) {
		*place_of(number) = (struct node){ number, -1, timeout, descriptor };
		count++;
	}
	pthread_mutex_unlock(&lock);
}

void fusecopy_node_lend(uint64_t number, int descriptor)
{
	struct node *node = lock_and_find(number);

	if (node)
		node->descriptor = descriptor;
	pthread_mutex_unlock(&lock);
}

void fusecopy_node_forget(uint64_t number)
{
	struct node *node = lock_and_find(number);
	int descriptor = node ? node->descriptor : -1;

	if (node) {
		vacate(node - places);
		count--;
		if (bits > LEAST_BITS && count < capacity() / 8)
			resize(bits - 1);
	}
	pthread_mutex_unlock(&lock);
	fusecopy_watch_forget(number, descriptor);
}

void fusecopy_node_close(int descriptor)
{
	struct fusecopy_use *user;

	pthread_mutex_lock(&lock);
	user = user_of(descriptor);
	if (user)
		user->closes = 1;
	pthread_mutex_unlock(&lock);
	if (!user && descriptor >= 0)
		close(descriptor);
}

void fusecopy_node_close_all(const int *descriptors, size_t number)
{
	for (size_t n = 0; n < number; n++)
		fusecopy_node_close(descriptors[n]);
}

int fusecopy_node_expire(uint64_t number)
{
	struct node *node = lock_and_find(number);
	int believed = node && node->timeout > 0;

	if (node)
		node->timeout = 0;
	pthread_mutex_unlock(&lock);
	return believed;
}

int fusecopy_node_is_known(uint64_t number)
{
	int is_known = lock_and_find(number) != NULL;

	pthread_mutex_unlock(&lock);
	return is_known;
}

int64_t fusecopy_node_told_size(uint64_t number)
{
	struct node *node = lock_and_find(number);
	int64_t size = node ? node->told_size : -1;

	pthread_mutex_unlock(&lock);
	return size;
}

void fusecopy_node_tell(uint64_t number, struct fusecopy_entry *entry)
{
	struct node *node = lock_and_find(number);

	entry->number = number;
	entry->attr_timeout = node ? node->timeout : 0;
	if (node)
		node->told_size = entry->stat.st_size;
	pthread_mutex_unlock(&lock);
	entry->attr_timeout = fusecopy_watch_limit(number, entry->attr_timeout);
}

/* ---- for handlers ------------------------------------------------------------------------------------- */

int fusecopy_begin_use(struct fusecopy_use *use, uint64_t number)
{
	struct node *node = lock_and_find(number);

	*use = (struct fusecopy_use){ .next = uses, .descriptor = node ? node->descriptor : -1 };
	if (use->descriptor >= 0)
		uses = use;
	pthread_mutex_unlock(&lock);
	return use->descriptor >= 0;
}

/* What it was to close, another user may still need. */
void fusecopy_end_use(struct fusecopy_use *use)
{
	struct fusecopy_use **link = &uses, *other;

	pthread_mutex_lock(&lock);
	while (*link != use)
		link = &(*link)->next;
	*link = use->next;
	other = user_of(use->descriptor);
	if (other)
		other->closes |= use->closes;
	pthread_mutex_unlock(&lock);
	if (use->closes && !other)
		close(use->descriptor);
}
