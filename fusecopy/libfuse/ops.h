/* What ops.c and its Python half share. */

#ifndef FUSECOPY_LIBFUSE_OPS_H
#define FUSECOPY_LIBFUSE_OPS_H

#include <stdint.h>
#include <sys/types.h>

#define FUSE_USE_VERSION 35
#include <fuse_lowlevel.h>

#if FUSE_MAJOR_VERSION != 3 || FUSE_MINOR_VERSION < 10
#error "fusecopy needs libfuse 3.10 or later of the 3.x series"
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
	int client_count;
	struct fusecopy_client clients[FUSECOPY_CLIENTS];
};

struct fusecopy_connection {
	unsigned int want;   /* FUSE_CAP_ flags to ask for, set before the session starts */
	unsigned int refuse; /* FUSE_CAP_ flags to leave out although libfuse or pyfuse3 wants them */
	unsigned int major;  /* the kernel's FUSE protocol, known after INIT */
	unsigned int minor;
	unsigned int max_write;
	uint64_t requests[FUSECOPY_OPCODES]; /* received so far, by opcode */
};

struct fusecopy_setattr {
	int to_set;
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

struct fusecopy_attributes {
	uint64_t ino;
	uint32_t mode;
	uint64_t nlink;
	uint32_t uid;
	uint32_t gid;
	uint64_t rdev;
	int64_t size;
	int64_t blksize;
	int64_t blocks;
	int64_t atime_s;
	int64_t atime_ns;
	int64_t mtime_s;
	int64_t mtime_ns;
	int64_t ctime_s;
	int64_t ctime_ns;
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
	int is_64; /* came as COPY_FILE_RANGE_64 */
};

/* Implemented in Python (session.py); each starts a task and returns at once. */
void on_look(uint64_t fh, pid_t pid, int writes);
void on_slow_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off);
void on_slow_write(fuse_req_t req, uint64_t fh, char *data, size_t size, int64_t off, size_t before, int append);
void on_setattr(fuse_req_t req, uint64_t inode, struct fusecopy_setattr *change);
void on_copy_file_range(fuse_req_t req, struct fusecopy_copy *copy);
void on_lseek(fuse_req_t req, uint64_t inode, uint64_t fh, int64_t off, int whence);
void on_fallocate(fuse_req_t req, uint64_t inode, uint64_t fh, int mode, int64_t off, int64_t length);
void on_ioctl(fuse_req_t req, uint64_t inode, uint64_t fh, unsigned int cmd, unsigned int flags, char *data,
	      size_t size, size_t out_size);

int fusecopy_installed(void);
struct fusecopy_connection *fusecopy_get_connection(void);
void fusecopy_finish_read(fuse_req_t req, int fd, size_t size, int64_t off);
void fusecopy_finish_write(fuse_req_t req, int fd, char *data, size_t size, int64_t off, size_t before, int append);
int fusecopy_reply_attr(fuse_req_t req, const struct fusecopy_attributes *attributes, double timeout);
int fusecopy_reply_copy(fuse_req_t req, uint64_t count);

#endif
