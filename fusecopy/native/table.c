/* Where the inodes are found. */

#include "table.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* One page of each kind at first; a power of two. */
#define LEAST_BUCKETS 512

/* So many descriptors are kept however often they run out. */
#define LEAST_DESCRIPTORS 4

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fusecopy_inode **by_number, **by_file;
static size_t buckets, count;

/* The list of those whose descriptors may be closed: behind its end is the oldest, before it the newest. */
static struct fusecopy_inode end;
static size_t recent, limit;

void fusecopy_table_lock(void)
{
	pthread_mutex_lock(&lock);
}

void fusecopy_table_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

void fusecopy_table_begin(size_t most)
{
	end.newer = end.older = &end;
	recent = 0;
	__atomic_store_n(&limit, most, __ATOMIC_RELAXED);
}

/* ---- by number and by file ---------------------------------------------------------------------------- */

/* Numbers come in sequence, and in several of them that begin elsewhere: multiply by 2^64 over the golden ratio. */
static size_t bucket_of(uint64_t key, size_t number)
{
	return (key * 0x9e3779b97f4a7c15 >> 20) & (number - 1);
}

static uint64_t file_key(uint64_t device, uint64_t ino)
{
	return ino ^ device << 44;
}

static void link_in(struct fusecopy_inode *inode)
{
	struct fusecopy_inode **number = &by_number[bucket_of(inode->number, buckets)];
	struct fusecopy_inode **file = &by_file[bucket_of(file_key(inode->device, inode->ino), buckets)];

	inode->next_by_number = *number;
	*number = inode;
	inode->next_by_file = *file;
	*file = inode;
}

/* A mapping of their own, which goes back to the system when a million inodes are forgotten; malloc(3) might keep it.
 */
static struct fusecopy_inode **map(size_t number)
{
	void *new = mmap(NULL, number * sizeof(void *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return new == MAP_FAILED ? NULL : new;
}

static void unmap(struct fusecopy_inode **old, size_t number)
{
	if (old)
		munmap(old, number * sizeof(void *));
}

/* Without memory the table stays as it is. */
static void resize(size_t wanted)
{
	struct fusecopy_inode **old = by_number, **numbers = map(wanted), **files = map(wanted), *inode, *next;
	const size_t before = buckets;

	if (!numbers || !files) {
		unmap(numbers, wanted);
		unmap(files, wanted);
		return;
	}
	unmap(by_file, before);
	by_number = numbers;
	by_file = files;
	buckets = wanted;
	for (size_t n = 0; n < before; n++)
		for (inode = old[n]; inode; inode = next) {
			next = inode->next_by_number;
			link_in(inode);
		}
	unmap(old, before);
}

int fusecopy_table_add(struct fusecopy_inode *inode)
{
	if (count >= buckets)
		resize(buckets ? buckets * 2 : LEAST_BUCKETS);
	if (!buckets)
		return -ENOMEM;
	link_in(inode);
	count++;
	return 0;
}

void fusecopy_table_remove(struct fusecopy_inode *inode)
{
	struct fusecopy_inode **link = &by_number[bucket_of(inode->number, buckets)];

	while (*link != inode)
		link = &(*link)->next_by_number;
	*link = inode->next_by_number;
	link = &by_file[bucket_of(file_key(inode->device, inode->ino), buckets)];
	while (*link != inode)
		link = &(*link)->next_by_file;
	*link = inode->next_by_file;
	fusecopy_table_untouch(inode);
	count--;
	if (buckets > LEAST_BUCKETS && count < buckets / 8)
		resize(buckets / 2);
}

struct fusecopy_inode *fusecopy_table_find(uint64_t number)
{
	struct fusecopy_inode *inode = buckets ? by_number[bucket_of(number, buckets)] : NULL;

	while (inode && inode->number != number)
		inode = inode->next_by_number;
	return inode;
}

struct fusecopy_inode *fusecopy_table_find_file(uint64_t device, uint64_t ino)
{
	struct fusecopy_inode *inode = buckets ? by_file[bucket_of(file_key(device, ino), buckets)] : NULL;

	while (inode && (inode->ino != ino || inode->device != device))
		inode = inode->next_by_file;
	return inode;
}

size_t fusecopy_table_count(void)
{
	return count;
}

size_t fusecopy_table_all(struct fusecopy_inode **found, size_t room)
{
	size_t all = 0;

	for (size_t n = 0; n < buckets; n++)
		for (struct fusecopy_inode *inode = by_number[n]; inode; inode = inode->next_by_number)
			if (all++ < room)
				found[all - 1] = inode;
	return all;
}

/* ---- by how recently they were used --------------------------------------------------------------------- */

void fusecopy_table_untouch(struct fusecopy_inode *inode)
{
	if (!inode->newer)
		return;
	inode->newer->older = inode->older;
	inode->older->newer = inode->newer;
	inode->newer = inode->older = NULL;
	recent--;
}

void fusecopy_table_touch(struct fusecopy_inode *inode)
{
	fusecopy_table_untouch(inode);
	inode->newer = &end;
	inode->older = end.older;
	end.older->newer = inode;
	end.older = inode;
	recent++;
}

size_t fusecopy_table_surplus(size_t most)
{
	return recent > most ? recent - most : 0;
}

struct fusecopy_inode *fusecopy_table_oldest(void)
{
	return end.newer;
}

size_t fusecopy_table_limit(void)
{
	return __atomic_load_n(&limit, __ATOMIC_RELAXED);
}

void fusecopy_table_halve(void)
{
	size_t half = limit < recent / 2 ? limit : recent / 2;

	__atomic_store_n(&limit, half > LEAST_DESCRIPTORS ? half : LEAST_DESCRIPTORS, __ATOMIC_RELAXED);
}
