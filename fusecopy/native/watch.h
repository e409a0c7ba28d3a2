/*
 * Watching the backing: what others do to it, as fanotify(7) tells it, becomes the kernel's notice to look again.
 *
 * watch_marks.c    has the backing's filesystems, or each directory that the kernel knows, marked
 * watch_btrfs.c    finds the top level of a btrfs, for a mark of it
 * watch_known.c    finds the inode that an event is about
 * watch_suspects.c keeps what is still to be said of it
 * watch_events.c   reads events and applies them, before an answer and on a thread of its own
 * watch_notices.c  sends the notices, on another: some wait for answers that are owed
 *
 * An event means "look again" and never "this happened": the kernel merges events, and their order is lost.
 * Locks, outermost first: reading (watch_events.c), marking (watch_marks.c), known (watch_known.c). None is held while
 * a notice is sent, but that a queue overflowed, which does not wait.
 */

#ifndef FUSECOPY_NATIVE_WATCH_H
#define FUSECOPY_NATIVE_WATCH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* What of an inode is to be asked anew. The pages of a directory are its listing. */
enum { FUSECOPY_ATTRIBUTES = 1, FUSECOPY_PAGES = 2 };

/* A file handle with its filesystem, hashed to 128 bits. 0: there is none. */
struct fusecopy_key {
	uint64_t low;
	uint64_t high;
};

/* What was seen so far, for those who ask, and what somebody should be told of. */
struct fusecopy_watch {
	int watches;	    /* changes by others are looked for */
	uint64_t events;    /* read; the server's own are among them */
	uint64_t foreign;   /* of others */
	uint64_t notices;   /* sent to the kernel */
	uint64_t overflows; /* events were lost, and everything was asked anew */
	uint64_t known;	    /* inodes that the kernel knows */
	uint64_t blind;	    /* of them, those whose changes go unseen: the kernel believes them for a short while */
	uint64_t marks;	    /* directories and files marked one by one */
	uint64_t given_up;  /* marks of those used least recently, for others */
	int error;	    /* why the last mark was refused, an errno */
};

/* ---- for Python ---------------------------------------------------------------------------------------- */

/* From now on inodes are watched as they become known; what cannot be is believed for `seconds`. At most
 * `marks` directories are marked one by one. Call it before the first inode is known. 0, or a negative errno where
 * there is nothing to watch with. */
int fusecopy_watch_begin(double seconds, uint64_t marks);
struct fusecopy_watch *fusecopy_get_watch(void);

/* Run by threads of their own. The first returns when there is something new to tell of: an overflow, marks given up,
 * the first or last that is blind. False at the end. */
int fusecopy_watch_read(void);
void fusecopy_watch_notify(void);
void fusecopy_watch_end(void);

/* Read all events, and wait until the kernel has been told. False where that takes longer than `seconds`. */
int fusecopy_watch_catch_up(double seconds);

/* For how long, in seconds, the kernel may believe what it is told of an inode, or of the names in a directory. */
double fusecopy_watch_limit(uint64_t number, double seconds);

/* Whether all names can be looked up again by one notice: since Linux 6.16, where none was refused so far. */
int fusecopy_watch_has_epochs(void);

/* Whether somebody else changed it and the kernel has not been told so far. */
int fusecopy_watch_is_suspect(uint64_t number);

/* Whether somebody else changed the bytes of one of them since `ns` of CLOCK_MONOTONIC: what happened so far is
 * applied. */
int fusecopy_watch_changed_since(int64_t ns, const uint64_t *numbers, int count);

/* ---- for the handlers ---------------------------------------------------------------------------------- */

/* Apply what happened so far. Cheap where nothing did. */
void fusecopy_watch_drain(void);

/* The same, unless it was done within the last millisecond: for answers that are right without it. */
void fusecopy_watch_keep_up(void);

/* Whether an OPEN by `thread` is to be answered ESTALE: the kernel found the inode by names that others changed, and
 * looks them up again then (do_filp_open in fs/namei.c). Never twice in a row to one thread. The inode's attributes
 * are asked anew if need be. */
int fusecopy_watch_refuses(uint64_t number, pid_t thread);

/* Before `st` is told: watch what is not watched yet. Whether it has to be looked at again. */
int fusecopy_watch_before(int descriptor, const struct stat *st);

/* An inode becomes known, or is forgotten; its O_PATH descriptor, or -1. */
void fusecopy_watch_enter(uint64_t number, int descriptor, uint64_t parent);
void fusecopy_watch_forget(uint64_t number, int descriptor);

/* ---- among themselves ---------------------------------------------------------------------------------- */

/* watch_marks.c: how a file is watched; the groups to read from. */
struct fusecopy_mark {
	struct fusecopy_key key;
	int is_blind;
	int has_mark; /* one of its own */
	int follows_parent;
};
struct fusecopy_mark fusecopy_mark(int descriptor);
void fusecopy_unmark(int descriptor);
int fusecopy_marks_begin(uint64_t most);
int fusecopy_watch_groups(const int **groups);
struct fusecopy_key fusecopy_key_of(const void *fsid, const void *handle);

/* watch_events.c: have the reader wake for what can be read from `fd`. */
void fusecopy_watch_wake_by(int fd);
void fusecopy_watch_wake(void);

/* watch_btrfs.c: 0 or a negative errno; the other a descriptor. `descriptor` is a directory's. */
#define FUSECOPY_UUID_BYTES 16
int fusecopy_btrfs_uuid(int descriptor, unsigned char *uuid);
int fusecopy_btrfs_top_level(int descriptor);

/* watch_suspects.c: what is to be said of an inode or a name, of what the kernel knows. */
void fusecopy_known_begin(double seconds);
void fusecopy_suspects_begin(void);
void fusecopy_suspect(struct fusecopy_key key, int what, int64_t changed_ns);
void fusecopy_suspect_name(struct fusecopy_key directory, const char *name, struct fusecopy_key file, int is_new);
void fusecopy_suspect_all(void);

/* Give up marks that were not used lately, with what the kernel believes by them; and see an inode again, by a mark of
 * its own or its directory's. */
void fusecopy_give_up_marks(size_t most);
void fusecopy_see_again(struct fusecopy_key key, int has_mark);

/* What is to be said: `take` waits for it, `told` says that all of it has been. False at the end. */
struct fusecopy_suspect {
	struct fusecopy_suspect *next;
	uint64_t number;	  /* of the inode, or of the directory */
	struct fusecopy_key file; /* that got a new name, */
	int was_seen;		  /* and is known by now */
	int what;		  /* 0: it is about a name */
	char name[];
};
int fusecopy_take_suspects(struct fusecopy_suspect **suspects);
void fusecopy_told_suspects(void);
void fusecopy_end_suspects(void);
int fusecopy_await_told(double seconds);
int fusecopy_is_known(uint64_t number);

/* watch_notices.c: 0 or a negative errno. What the kernel does not know is ENOENT. */
int fusecopy_notice_inode(uint64_t number, int what);
int fusecopy_notice_name(uint64_t directory, const char *name);
int fusecopy_notice_epoch(void);

#endif
