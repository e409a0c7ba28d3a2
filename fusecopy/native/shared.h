/* What the native layer and its Python half share. */

#ifndef FUSECOPY_LIBFUSE_OPS_H
#define FUSECOPY_LIBFUSE_OPS_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#if FUSE_MAJOR_VERSION != 3 || FUSE_MINOR_VERSION < 13
#error "fusecopy needs libfuse 3.13 (fuse_session_custom_io) or later of the 3.x series"
#endif

struct libfuse_version;

#define FUSECOPY_CLIENTS 8

/* In the place of a thread's id: mapped pages that the kernel writes back, for nobody in particular. */
#define FUSECOPY_WRITEBACK (-2)

/* A flow is looked at again when the size of its requests changes, but no more often than this. */
#define FUSECOPY_LOOKS 8

#define FUSECOPY_OPCODES 64

/* The READ and WRITE requests of one thread on one open file; times are CLOCK_MONOTONIC. */
struct fusecopy_client {
	pid_t pid;
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t writes;
	uint64_t write_bytes;
	int64_t first_ns;
	int64_t last_ns;
	uint64_t pipe_writes; /* those of 64 KiB, the kernel's own pipe */
	size_t last_write;
	int looks;
};

/* An open file served natively. Its address is the fh that the kernel returns with each request. */
struct fusecopy_file {
	int fd;
	int write_waits; /* a write may wait for the disk without telling */
	int unseen;      /* the kernel reads and writes it by itself */
	int asks_writer; /* the backing has room that it gives by the writer's user id (see data.c) */
	int only_appends; /* `fd` is opened with O_APPEND */
	uid_t opener;    /* who pays for mapped pages that the kernel writes back */
	uint64_t device; /* st_dev and st_ino in the backing */
	uint64_t ino;
	int client_count;
	struct fusecopy_client clients[FUSECOPY_CLIENTS];
};

struct fusecopy_connection {
	int has_loop;            /* requests are answered by our own loop; set before the session is made */
	double negative_timeout; /* seconds for which the kernel may believe that a name is not there */
	unsigned int want;       /* FUSE_CAP_ flags to ask for, set before the session starts */
	unsigned int refuse;     /* FUSE_CAP_ flags to leave out although libfuse or pyfuse3 wants them */
	unsigned int major;      /* the kernel's FUSE protocol, known after INIT */
	unsigned int minor;
	unsigned int max_write;
	unsigned int max_read; /* bytes of the largest READ as the mount was asked for; 0 for no limit */
	const char *source;    /* what the mount table says is mounted */
	int passthrough;       /* asked for, then agreed: the kernel reads and writes the backing by itself */
	uint64_t requests[FUSECOPY_OPCODES]; /* received so far, by opcode */
};

struct fusecopy_setattr {
	int to_set;
	int drops_suidgid;
	int has_fh;
	uint64_t fh;
	uint32_t mode;
	uint32_t uid;
	uint32_t gid;
	int64_t size;
	int64_t atime_s; /* seconds and nanoseconds apart: 64 bits of nanoseconds end in 2262 */
	int64_t atime_ns;
	int64_t mtime_s;
	int64_t mtime_ns;
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
	int keep_cache;    /* pages known from before are still right */
	int noflush;       /* no FLUSH when a descriptor is closed */
	int cache_readdir; /* a listing may be remembered */
	int backing;       /* what the kernel reads and writes by itself, from fusecopy_backing_open; or 0 */
};

/* Entries of a listing that are dealt with at once; with attributes each holds a descriptor of its own. */
#define FUSECOPY_FOUND 64

/* What one getdents64(2) may return. */
#define FUSECOPY_ENTRIES 32768

/* An open directory of the backing, and what was read of it ahead of what was asked for. */
struct fusecopy_directory {
	int fd;
	uint64_t number; /* what "." is called */
	uint64_t parent; /* what ".." is called */
	int64_t position; /* behind the last entry taken */
	size_t next;      /* of `buffer`, the first entry not taken */
	size_t length;
	char buffer[FUSECOPY_ENTRIES];
};

/* An entry of a listing. */
struct fusecopy_found {
	const char *name;
	int64_t after; /* the position behind it */
	int fd;        /* O_PATH, whoever called fusecopy_find has to close it; -1 if no more is told than its name */
	struct fusecopy_entry entry;
};

/* The same for Python: what tells the file from others, its descriptor or -1, and its size. */
struct fusecopy_file_found {
	int64_t fd;
	uint64_t device;
	uint64_t ino;
	int64_t size;
};

/* A reply to READDIR, or with `plus` to READDIRPLUS, while it is laid out, and the batch found last. */
struct fusecopy_listing {
	int plus;
	char *reply;
	size_t size;
	size_t used;
	size_t count; /* of the batch */
	struct fusecopy_found found[FUSECOPY_FOUND];
	struct fusecopy_file_found files[FUSECOPY_FOUND];
	size_t names_length;
	char names[FUSECOPY_ENTRIES]; /* each followed by a slash; they come from one getdents64(2) */
};

struct fusecopy_copy {
	uint64_t inode_in;
	uint64_t fh_in;
	int64_t off_in;
	uint64_t inode_out;
	uint64_t fh_out;
	int64_t off_out;
	uint64_t length;
	int flags;
};

#define FUSECOPY_CALLERS 16
#define FUSECOPY_COMM_BYTES 64  /* more than any thread's name has */
#define FUSECOPY_ARGS_BYTES 120 /* how much of a command line is kept */

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
	char exe[PATH_MAX];
};

enum { FUSECOPY_NOTHING, FUSECOPY_CLONED, FUSECOPY_RELEASED };

/* What was answered and is to be followed up. Of a release there is the source only. */
struct fusecopy_event {
	int kind;
	struct fusecopy_file *source;
	struct fusecopy_file *destination;
	int64_t off_in;
	int64_t off_out;
	uint64_t length; /* asked for */
	uint64_t copied;
	uint64_t size; /* of the source */
	int64_t begun_ns; /* CLOCK_MONOTONIC */
	int64_t ended_ns;
	struct fusecopy_caller caller;
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

/* Implemented in Python (handlers.py). */
int on_crowded(void);
void on_look(uint64_t fh, pid_t pid, int writes);
void on_slow_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off);
void on_slow_write(fuse_req_t req, uint64_t fh, char *data, size_t size, int64_t off, size_t before, int append,
		   uid_t writer);
void on_privileged_write(fuse_req_t req, uint64_t fh);
void on_setattr(fuse_req_t req, uint64_t inode, struct fusecopy_setattr *change);
void on_copy_file_range(fuse_req_t req, struct fusecopy_copy *copy);
void on_lseek(fuse_req_t req, uint64_t inode, uint64_t fh, int64_t off, int whence);
void on_fallocate(fuse_req_t req, uint64_t inode, uint64_t fh, int mode, int64_t off, int64_t length);
void on_ioctl(fuse_req_t req, uint64_t inode, uint64_t fh, unsigned int cmd, unsigned int flags, char *data,
	      size_t size, size_t out_size);
void on_readdir(fuse_req_t req, uint64_t fh, size_t size, int64_t off, int plus);
void on_lookup(fuse_req_t req, uint64_t parent, char *name);
void on_forget(struct fuse_forget_data *forgets, size_t count);
void on_getattr(fuse_req_t req, uint64_t inode);
void on_readlink(fuse_req_t req, uint64_t inode);
void on_mknod(fuse_req_t req, uint64_t parent, char *name, unsigned int mode, uint64_t device);
void on_mkdir(fuse_req_t req, uint64_t parent, char *name, unsigned int mode);
void on_symlink(fuse_req_t req, uint64_t parent, char *name, char *target);
void on_link(fuse_req_t req, uint64_t inode, uint64_t parent, char *name);
void on_unlink(fuse_req_t req, uint64_t parent, char *name);
void on_rmdir(fuse_req_t req, uint64_t parent, char *name);
void on_rename(fuse_req_t req, uint64_t parent, char *name, uint64_t new_parent, char *new_name,
	       unsigned int flags);
void on_open(fuse_req_t req, uint64_t inode, int flags);
void on_create(fuse_req_t req, uint64_t parent, char *name, unsigned int mode, int flags);
void on_flush(fuse_req_t req, uint64_t fh);
void on_fsync(fuse_req_t req, uint64_t fh, int datasync);
void on_getxattr(fuse_req_t req, uint64_t inode, char *name, size_t size);
void on_opendir(fuse_req_t req, uint64_t inode);
void on_releasedir(fuse_req_t req, uint64_t fh);

/* CLOCK_MONOTONIC. */
static inline int64_t fusecopy_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* session.c */
int fusecopy_installed(void);
struct fusecopy_connection *fusecopy_get_connection(void);
int fusecopy_request_is_64(void);
int fusecopy_drops_suidgid(void); /* of a WRITE or SETATTR: its program may not keep these bits */

/* compat.c: have the kernel know a file of the backing, or forget it; a number, or a negative errno. */
int fusecopy_backing_open(int fd);
void fusecopy_backing_close(int id);

/* loop.c: run by the loop's threads, without Python's lock, until there are no more requests. */
void fusecopy_serve(void);
void fusecopy_oversee(void);

/* End the loop, whatever its threads wait for. */
void fusecopy_stop(void);

/* Keep the turn until the request is done, unless it takes all too long (20 ms): nothing that comes after it is
 * served before. False where other threads serve requests already. */
int fusecopy_keep_turn(void);

/* callers.c: 0, or -ESRCH where the thread is gone or may not be seen. `uid` is the request's; -1 has it looked up. */
int fusecopy_identify(pid_t thread, int64_t uid, struct fusecopy_caller *caller);
void fusecopy_forget_callers(void);

/* clones.c: whether copies may be answered by a clone before Python knows of them. */
void fusecopy_allow_clones(int are_allowed);
int fusecopy_clone_at_once(fuse_req_t req, const struct fusecopy_copy *copy);

/* afterwards.c: note what is to be done, and after the answer have it seen to. */
void fusecopy_note(const struct fusecopy_event *what);
void fusecopy_see_to(void);

/* Wait until all that was noted is done; until what a write of a file would disturb is. */
void fusecopy_settle(void);
void fusecopy_settle_range(const struct fusecopy_file *file, int64_t off, uint64_t length);

/* From before its answer until it is reported, what would change a copy that Python proves waits for it. */
void fusecopy_begin_proof(struct fusecopy_proof *proof);
void fusecopy_end_proof(const struct fusecopy_proof *proof);

/* The next of them, when the one that `next` holds is done; false at the end. */
int fusecopy_next_event(struct fusecopy_event *next);
void fusecopy_end_events(void);

/* data.c */
void fusecopy_do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fusecopy_do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		       struct fuse_file_info *fi);
void fusecopy_finish_read(fuse_req_t req, int fd, size_t size, int64_t off);
int64_t fusecopy_write(int fd, const char *data, size_t size, int64_t off, int append);

/* operations.c */
void fusecopy_lay_over(struct fuse_lowlevel_ops *ops, int has_loop);
int fusecopy_stat(int fd, struct fusecopy_entry *entry);
int fusecopy_reply_entry(fuse_req_t req, struct fusecopy_entry *entry);
int fusecopy_reply_absent(fuse_req_t req, uint64_t parent);
int fusecopy_reply_attr(fuse_req_t req, struct fusecopy_entry *entry);
int fusecopy_reply_open(fuse_req_t req, const struct fusecopy_opened *opened);
int fusecopy_reply_create(fuse_req_t req, struct fusecopy_entry *entry, const struct fusecopy_opened *opened);
int fusecopy_reply_copy(fuse_req_t req, uint64_t count);
struct fuse_entry_param fusecopy_entry_param(const struct fusecopy_entry *entry);

/* listings.c */

/* Go on from position `off`; 0 or a negative errno. */
int fusecopy_seek_directory(struct fusecopy_directory *d, int64_t off);

/* Take as many entries as the batch and the reply have room for. Returns their number, 0 when there are no more or
 * the next does not fit, or a negative errno. */
int fusecopy_find(struct fusecopy_listing *l, struct fusecopy_directory *d);

/* Give those of the batch that were looked up their numbers, and seconds for which they may be believed. */
void fusecopy_number(struct fusecopy_listing *l, const uint64_t *numbers, double timeout);

/* Add the batch to the reply. */
void fusecopy_lay_out(struct fusecopy_listing *l);

#endif
