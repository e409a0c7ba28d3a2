/* The records that the native lane and Python share. cffi reads this file, as all headers here and in libfuse/. */

#ifndef FUSECOPY_SHARED_H
#define FUSECOPY_SHARED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct fusecopy_asker;
struct fusecopy_inode;

/* What a native answer returns: it has replied, or the request is for Python. */
#define FUSECOPY_LEFT 0
#define FUSECOPY_ANSWERED 1

/* In the place of a thread's id: mapped pages that the kernel writes back, for nobody in particular. */
#define FUSECOPY_WRITEBACK (-2)

/* Requests of one kind; times are CLOCK_MONOTONIC. */
struct fusecopy_moved {
	uint64_t requests;
	uint64_t bytes; /* what was read or written; not what failed */
	int64_t low;	/* the range that they lie in, up to `high` */
	int64_t high;
	int64_t first_ns;
	int64_t last_ns;
	uint64_t pipe_requests; /* those of 16 pages, the kernel's own pipe */
	int error;		/* of the last one */
};

/* The READ and WRITE requests of one thread on one open file. */
struct fusecopy_client {
	pid_t pid;
	uid_t uid; /* of its last request */
	struct fusecopy_moved read;
	struct fusecopy_moved written;
	size_t last_write;
	int looks;
	struct fusecopy_client *next;
};

/* Which file it is, by st_dev and st_ino in the backing; a device of 0 is none. */
struct fusecopy_identity {
	uint64_t device;
	uint64_t ino;
};

/* An open file. Its address is the fh that the kernel returns with each request. What it is does not change once the
 * kernel was told of it. */
struct fusecopy_file {
	int fd;		   /* with the access mode that the program asked for */
	int unseen;	   /* the kernel reads and writes it by itself */
	int asks_writer;   /* the backing has room that it gives by the writer's user id (see data.c) */
	int only_appends;  /* `fd` is opened with O_APPEND */
	int is_writable;   /* opened to write */
	uid_t uid;	   /* that opened it: who pays for mapped pages that the kernel writes back */
	pid_t thread;	   /* that opened it */
	int64_t opened_ns; /* CLOCK_MONOTONIC */
	struct fusecopy_inode *inode;
	uint64_t device; /* st_dev and st_ino in the backing */
	uint64_t ino;
	struct fusecopy_asker *asker; /* who opened it to write and may want a reflink or nothing; else NULL */
	int is_written;
	int tells_others; /* what is told when it is closed may name files that were neither read nor are its own */
	int client_count;
	int crowd; /* with so many clients those that are gone are reported; 0: as many as is usual */
	struct fusecopy_client *clients;
	int holders;
	int is_open; /* its handle is the kernel's */
	struct fusecopy_file *next;
	struct fusecopy_file *previous;
};

/* What the kernel is told of an inode. Timeouts are seconds for which it may believe it. */
struct fusecopy_entry {
	uint64_t number; /* what the kernel is to call it; 0: an entry of a listing that was not looked up */
	uint64_t generation;
	double entry_timeout;
	double attr_timeout;
	uint64_t device; /* st_dev and st_ino in the backing */
	uint64_t ino;
	struct stat stat;
};

/* What the kernel is told of an opened file or directory. */
struct fusecopy_opened {
	uint64_t fh;
	int keep_cache;	   /* pages known from before are still right */
	int noflush;	   /* no FLUSH when a descriptor is closed */
	int cache_readdir; /* a listing may be remembered */
	int backing;	   /* what the kernel reads and writes by itself, from fusecopy_backing_open; or 0 */
};

/* Entries of a listing that are dealt with at once; with attributes each holds a descriptor of its own. */
#define FUSECOPY_FOUND 64

/* What one getdents64(2) may return. */
#define FUSECOPY_ENTRIES 32768

/* An open directory of the backing, and what was read of it ahead of what was asked for. */
struct fusecopy_directory {
	int fd;
	uint64_t number;  /* what "." is called */
	uint64_t parent;  /* what ".." is called */
	int64_t position; /* behind the last entry taken */
	size_t next;	  /* of `buffer`, the first entry not taken */
	size_t length;
	char buffer[FUSECOPY_ENTRIES];
};

/* An entry of a listing. */
struct fusecopy_found {
	const char *name;
	int64_t after; /* the position behind it */
	int fd;	       /* O_PATH, until it is entered; -1 if no more is told than its name */
	struct fusecopy_entry entry;
};

/* A reply to READDIR, or with `plus` to READDIRPLUS, while it is laid out, and the batch found last. */
struct fusecopy_listing {
	int plus;
	char *reply;
	size_t size;
	size_t used;
	size_t count; /* of the batch */
	struct fusecopy_found found[FUSECOPY_FOUND];
};

#define FUSECOPY_CALLERS 16
#define FUSECOPY_COMM_BYTES 64	/* more than any thread's name has */
#define FUSECOPY_ARGS_BYTES 120 /* how much of a command line is kept */
#define FUSECOPY_PATH_BYTES 4096

/* A thread and its process; nothing is known of their sizes' rest. */
struct fusecopy_caller {
	pid_t thread;
	pid_t pid;
	pid_t parent; /* when it was first seen: it gets another when that one ends */
	pid_t group;  /* 0: not known */
	uid_t uid;
	unsigned int comm_size;
	unsigned int args_size;
	unsigned int exe_size; /* 0: it may not be seen */
	char comm[FUSECOPY_COMM_BYTES];
	char args[FUSECOPY_ARGS_BYTES];
	char exe[FUSECOPY_PATH_BYTES];
};

enum {
	FUSECOPY_UNKNOWN,
	FUSECOPY_HIDDEN, /* we may not look */
	FUSECOPY_KERNEL, /* a thread of the kernel's own */
	FUSECOPY_COPYING,
	FUSECOPY_SENDING,
	FUSECOPY_SPLICING,
	FUSECOPY_READING,
	FUSECOPY_WRITING,
	FUSECOPY_MAPPED,
};

/* What drives a thread's requests. Nothing is known of the path's rest. */
struct fusecopy_driver {
	int kind;
	int has_source;	 /* it reads from a regular file: */
	uint64_t device; /* st_dev and st_ino, the mount's own for a file in it */
	uint64_t ino;
	int64_t size; /* as the kernel knows it */
	unsigned int path_size;
	char path[FUSECOPY_PATH_BYTES]; /* as the thread sees it */
};

enum { FUSECOPY_NOTHING, FUSECOPY_CLONED, FUSECOPY_RELEASED, FUSECOPY_CROWDED };

/* When a copy is proven: after its answer; before it, as its files may be changed unseen; and before it somebody else
 * had changed one of them. */
enum { FUSECOPY_LATER, FUSECOPY_PROVEN, FUSECOPY_CHANGED };

/* A copy that was answered; times are CLOCK_MONOTONIC. */
struct fusecopy_clone {
	int64_t off_in;
	int64_t off_out;
	uint64_t length; /* asked for */
	uint64_t copied;
	uint64_t size; /* of the source */
	int64_t begun_ns;
	int64_t ended_ns;
	int64_t refused; /* the errno of the clone where the backing's own copy carried it, or 0 */
	uint64_t shared; /* once it is proven, bytes that are shared, lie in holes, or are unprovable */
	uint64_t holes;
	uint64_t unprovable;
	int64_t proven; /* FUSECOPY_LATER and its like */
};

/* What was answered and is to be followed up. Of a release and of a crowd there is the source only. */
struct fusecopy_event {
	int kind;
	struct fusecopy_file *source;
	struct fusecopy_file *destination;
	struct fusecopy_clone clone;
	struct fusecopy_caller caller;
};

#define FUSECOPY_TOGETHER 256

/* Events of one kind, in the order of their answers. Of each clone there is which one was the first of the same files
 * and the same caller that was carried the same way. */
struct fusecopy_events {
	int kind;
	uint32_t count;
	const struct fusecopy_event *first[FUSECOPY_TOGETHER];
	uint32_t alike[FUSECOPY_TOGETHER];
	uint64_t generations[FUSECOPY_TOGETHER]; /* of the first ones' destinations (fc_generation) */
	struct fusecopy_clone clones[FUSECOPY_TOGETHER];
};

/* A copy that was answered and is being proven; off_out and copied are bytes. */
struct fusecopy_proof {
	const struct fusecopy_file *source;
	const struct fusecopy_file *destination;
	uint64_t off_out;
	uint64_t copied;
	uint64_t number;
	struct fusecopy_proof *next;
};

#endif
