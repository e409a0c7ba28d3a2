/*
 * What is still to be said to the kernel: inodes and names that others changed.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "request.h"
#include "watch_known.h"

/* Names that wait to be told. With more it costs less to have everything asked anew. */
#define MOST_NAMES 65536

/* Threads whose last OPEN was refused; so long, in ns, they are remembered: they come back at once. For as long after
 * the kernel was told of a name an OPEN may come that had found it before. */
#define REFUSED 256
#define REFUSED_NS 100000000

static pthread_cond_t is_suspect = PTHREAD_COND_INITIALIZER;
static pthread_cond_t is_told; /* its clock is the monotonic one */

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

void fusecopy_suspects_begin(void)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&is_told, &attributes);
	pthread_condattr_destroy(&attributes);
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

void fusecopy_suspect_known(struct fusecopy_known *k, int what)
{
	if (k->waiting || add(k->number, NULL))
		k->waiting |= what;
}

void fusecopy_note_renamed(void)
{
	renamed = raised;
	__atomic_store_n(&renamed_until_ns, fusecopy_now_ns() + REFUSED_NS, __ATOMIC_SEQ_CST);
}

static void suspect_whole(struct fusecopy_known *k)
{
	fusecopy_suspect_known(k, FUSECOPY_ATTRIBUTES | FUSECOPY_PAGES);
	k->changed_ns = fusecopy_now_ns();
}

void fusecopy_suspect(struct fusecopy_key key, int what, int64_t changed_ns)
{
	struct fusecopy_known *k;

	pthread_mutex_lock(fusecopy_known_lock());
	k = fusecopy_find_key(key);
	if (k) {
		fusecopy_suspect_known(k, what);
		if (changed_ns)
			k->changed_ns = changed_ns;
	}
	pthread_mutex_unlock(fusecopy_known_lock());
}

void fusecopy_suspect_name(struct fusecopy_key directory, const char *name, struct fusecopy_key file, int is_new)
{
	struct fusecopy_known *k;
	struct fusecopy_suspect *s;
	int all = 0;

	pthread_mutex_lock(fusecopy_known_lock());
	k = fusecopy_find_key(directory);
	if (k) {
		fusecopy_suspect_known(k, FUSECOPY_ATTRIBUTES | FUSECOPY_PAGES);
		all = names >= MOST_NAMES && !too_many;
		too_many |= all;
		s = too_many ? NULL : add(k->number, name);
		names += s != NULL;
		if (s && is_new)
			s->file = file;
		if (!is_new)
			fusecopy_note_renamed();
	}
	pthread_mutex_unlock(fusecopy_known_lock());
	if (all)
		fusecopy_suspect_all();
}

void fusecopy_suspect_all(void)
{
	fusecopy_notice_epoch();
	pthread_mutex_lock(fusecopy_known_lock());
	__atomic_fetch_add(&fusecopy_get_watch()->overflows, 1, __ATOMIC_RELAXED);
	fusecopy_each_known(suspect_whole);
	fusecopy_note_renamed();
	pthread_mutex_unlock(fusecopy_known_lock());
}

int fusecopy_watch_is_suspect(uint64_t number)
{
	struct fusecopy_known *k;
	int what;

	if (__atomic_load_n(&raised, __ATOMIC_SEQ_CST) == __atomic_load_n(&told, __ATOMIC_SEQ_CST))
		return 0;
	pthread_mutex_lock(fusecopy_known_lock());
	k = fusecopy_find_number(number);
	what = k ? k->waiting | k->going : 0;
	pthread_mutex_unlock(fusecopy_known_lock());
	return what;
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
	pthread_mutex_lock(fusecopy_known_lock());
	if (renamed <= told && renamed_until_ns < fusecopy_now_ns())
		renamed_until_ns = 0;
	refuses = renamed_until_ns && refuse_once(thread);
	pthread_mutex_unlock(fusecopy_known_lock());
	return refuses;
}

/* ---- telling ------------------------------------------------------------------------------------------- */

int fusecopy_take_suspects(struct fusecopy_suspect **suspects)
{
	struct fusecopy_suspect *s;
	struct fusecopy_known *k;
	int were_too_many;

	pthread_mutex_lock(fusecopy_known_lock());
	while (!first && !ended)
		pthread_cond_wait(&is_suspect, fusecopy_known_lock());
	for (s = first; s; s = s->next) {
		if (s->name[0]) {
			s->was_seen = fusecopy_find_key(s->file) != NULL;
			continue;
		}
		k = fusecopy_find_number(s->number);
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
	pthread_mutex_unlock(fusecopy_known_lock());
	if (were_too_many)
		fusecopy_suspect_all();
	return *suspects != NULL;
}

void fusecopy_told_suspects(void)
{
	struct fusecopy_suspect *s;
	struct fusecopy_known *k;
	uint64_t now = told;

	pthread_mutex_lock(fusecopy_known_lock());
	while ((s = taken)) {
		k = s->name[0] ? NULL : fusecopy_find_number(s->number);
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
	pthread_mutex_unlock(fusecopy_known_lock());
}

void fusecopy_end_suspects(void)
{
	pthread_mutex_lock(fusecopy_known_lock());
	ended = 1;
	pthread_cond_broadcast(&is_suspect);
	pthread_cond_broadcast(&is_told);
	pthread_mutex_unlock(fusecopy_known_lock());
}

int fusecopy_await_told(double seconds)
{
	struct timespec until;
	uint64_t number;
	int result;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)seconds;
	pthread_mutex_lock(fusecopy_known_lock());
	number = raised;
	while (told < number && !ended)
		if (pthread_cond_timedwait(&is_told, fusecopy_known_lock(), &until) != 0)
			break;
	result = told >= number;
	pthread_mutex_unlock(fusecopy_known_lock());
	return result;
}
