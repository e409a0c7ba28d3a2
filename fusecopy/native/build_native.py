"""Builds fusecopy.native._native: the C files here and in libfuse/, and what they share with Python."""

import shlex
import subprocess

from cffi import FFI

SOURCES = (
    "libfuse/session",
    "libfuse/loop",
    "libfuse/backlog",
    "libfuse/handover",
    "libfuse/compat",
    "native/operations",
    "native/listings",
    "native/data",
    "native/nodes",
    "native/attributes",
    "native/names",
    "native/clones",
    "native/afterwards",
    "native/callers",
    "native/watch_marks",
    "native/watch_btrfs",
    "native/watch_known",
    "native/watch_events",
    "native/watch_notices",
)

DECLARATIONS = """
typedef int... pid_t;
typedef int... uid_t;
typedef int... gid_t;
typedef int... mode_t;
typedef int... dev_t;
typedef int... ino_t;
typedef int... nlink_t;
typedef int... off_t;
typedef int... blksize_t;
typedef int... blkcnt_t;
typedef int... time_t;
struct fuse_req;
typedef struct fuse_req *fuse_req_t;
struct fuse_ctx { uid_t uid; gid_t gid; pid_t pid; mode_t umask; ...; };

#define FUSE_SET_ATTR_MODE ...
#define FUSE_SET_ATTR_UID ...
#define FUSE_SET_ATTR_GID ...
#define FUSE_SET_ATTR_SIZE ...
#define FUSE_SET_ATTR_ATIME ...
#define FUSE_SET_ATTR_MTIME ...
#define FUSE_SET_ATTR_ATIME_NOW ...
#define FUSE_SET_ATTR_MTIME_NOW ...
#define FUSE_SET_ATTR_CTIME ...
#define FUSE_IOCTL_DIR ...
#define FUSE_CAP_ATOMIC_O_TRUNC ...
#define FUSE_CAP_DONT_MASK ...
#define FUSE_CAP_READDIRPLUS_AUTO ...
#define FUSE_CAP_SPLICE_WRITE ...
#define FUSE_CAP_SPLICE_MOVE ...
#define FUSE_CAP_SPLICE_READ ...
#define FUSE_CAP_HANDLE_KILLPRIV ...

struct fusecopy_client {
    pid_t pid;
    uint64_t reads; uint64_t read_bytes; uint64_t writes; uint64_t write_bytes;
    int64_t first_ns; int64_t last_ns;
    uint64_t pipe_writes; ...;
};
#define FUSECOPY_OPCODES ...
#define FUSECOPY_WRITEBACK ...
struct fusecopy_file {
    int fd; int write_waits; int unseen; int asks_writer; int only_appends; uid_t opener;
    uint64_t device; uint64_t ino;
    int client_count; struct fusecopy_client clients[...];
};
struct fusecopy_connection {
    int has_loop; double negative_timeout; unsigned int want; unsigned int refuse;
    unsigned int major; unsigned int minor; unsigned int max_write;
    unsigned int max_read; const char *source; int passthrough;
    uint64_t requests[...];
};
struct fusecopy_setattr {
    int to_set; int drops_suidgid; int has_fh; uint64_t fh; uint32_t mode; uint32_t uid; uint32_t gid;
    int64_t size; int64_t atime_s; int64_t atime_ns; int64_t mtime_s; int64_t mtime_ns;
};
struct timespec { time_t tv_sec; long tv_nsec; ...; };
struct stat {
    mode_t st_mode; nlink_t st_nlink; uid_t st_uid; gid_t st_gid; dev_t st_rdev;
    off_t st_size; blksize_t st_blksize; blkcnt_t st_blocks;
    struct timespec st_atim; struct timespec st_mtim; struct timespec st_ctim; ...;
};
struct fusecopy_entry {
    uint64_t number; uint64_t generation; double entry_timeout; double attr_timeout;
    uint64_t device; uint64_t ino; struct stat stat;
};
struct fusecopy_directory {
    int fd; uint64_t number; uint64_t parent; int64_t position; size_t next; size_t length; ...;
};
struct fusecopy_found { struct fusecopy_entry entry; ...; };
struct fusecopy_file_found { int64_t fd; uint64_t device; uint64_t ino; int64_t size; };
struct fusecopy_listing {
    int plus; char *reply; size_t size; size_t used; size_t count;
    struct fusecopy_found found[...]; struct fusecopy_file_found files[...];
    size_t names_length; char names[...]; ...;
};
struct fusecopy_opened { uint64_t fh; int keep_cache; int noflush; int cache_readdir; int backing; };
struct fusecopy_copy {
    uint64_t inode_in; uint64_t fh_in; int64_t off_in;
    uint64_t inode_out; uint64_t fh_out; int64_t off_out;
    uint64_t length; int flags;
};
#define FUSECOPY_CALLERS ...
#define FUSECOPY_ARGS_BYTES ...
struct fusecopy_caller {
    pid_t thread; pid_t pid; pid_t parent; pid_t group; uid_t uid;
    unsigned int comm_size; unsigned int args_size; unsigned int exe_size;
    char comm[...]; char args[...]; char exe[...];
};
#define FUSECOPY_NOTHING ...
#define FUSECOPY_CLONED ...
#define FUSECOPY_RELEASED ...
struct fusecopy_event {
    int kind; struct fusecopy_file *source; struct fusecopy_file *destination;
    int64_t off_in; int64_t off_out; uint64_t length; uint64_t copied; uint64_t size;
    int64_t begun_ns; int64_t ended_ns;
    struct fusecopy_caller caller;
};
struct fusecopy_proof {
    const struct fusecopy_file *source; const struct fusecopy_file *destination;
    uint64_t off_out; uint64_t copied;
    ...;
};
struct fusecopy_watch {
    int watches; uint64_t events; uint64_t foreign; uint64_t notices; uint64_t overflows;
    uint64_t known; uint64_t blind; uint64_t marks; int error;
};
struct fuse_forget_data { uint64_t ino; uint64_t nlookup; };

void free(void *memory);
int fuse_version(void);
const char *fuse_pkgversion(void);
const struct fuse_ctx *fuse_req_ctx(fuse_req_t req);
int fuse_req_interrupted(fuse_req_t req);
int fuse_reply_err(fuse_req_t req, int err);
int fuse_reply_buf(fuse_req_t req, const char *buf, size_t size);
int fuse_reply_readlink(fuse_req_t req, const char *target);
int fuse_reply_write(fuse_req_t req, size_t count);
int fuse_reply_xattr(fuse_req_t req, size_t size);
int fuse_reply_lseek(fuse_req_t req, int64_t off);
int fuse_reply_ioctl(fuse_req_t req, int result, const void *buf, size_t size);

int fusecopy_installed(void);
struct fusecopy_connection *fusecopy_get_connection(void);
void fusecopy_serve(void);
void fusecopy_oversee(void);
void fusecopy_stop(void);
int fusecopy_keep_turn(void);
int fusecopy_identify(pid_t thread, int64_t uid, struct fusecopy_caller *caller);
void fusecopy_forget_callers(void);
void fusecopy_allow_clones(int are_allowed);
void fusecopy_settle(void);
void fusecopy_begin_proof(struct fusecopy_proof *proof);
void fusecopy_end_proof(const struct fusecopy_proof *proof);
int fusecopy_next_event(struct fusecopy_event *next);
void fusecopy_end_events(void);
int fusecopy_backing_open(int fd);
void fusecopy_backing_close(int id);
void fusecopy_finish_read(fuse_req_t req, int fd, size_t size, int64_t off);
int64_t fusecopy_write(int fd, const char *data, size_t size, int64_t off, int append);
int fusecopy_stat(int fd, struct fusecopy_entry *entry);
int fusecopy_reply_entry(fuse_req_t req, struct fusecopy_entry *entry);
int fusecopy_reply_absent(fuse_req_t req, uint64_t parent);
int fusecopy_reply_attr(fuse_req_t req, struct fusecopy_entry *entry);
int fusecopy_reply_open(fuse_req_t req, const struct fusecopy_opened *opened);
int fusecopy_reply_create(fuse_req_t req, struct fusecopy_entry *entry,
                          const struct fusecopy_opened *opened);
int fusecopy_seek_directory(struct fusecopy_directory *d, int64_t off);
int fusecopy_find(struct fusecopy_listing *l, struct fusecopy_directory *d);
void fusecopy_number(struct fusecopy_listing *l, const uint64_t *numbers, double timeout);
void fusecopy_lay_out(struct fusecopy_listing *l);
int fusecopy_reply_copy(fuse_req_t req, uint64_t count);
void fusecopy_node_enter(uint64_t number, int descriptor, double timeout, uint64_t parent);
void fusecopy_node_lend(uint64_t number, int descriptor);
void fusecopy_node_forget(uint64_t number);
void fusecopy_node_close(int descriptor);
void fusecopy_node_close_all(const int *descriptors, size_t count);
int fusecopy_node_distrust(uint64_t number);
int64_t fusecopy_node_told_size(uint64_t number);
void fusecopy_node_tell(uint64_t number, struct fusecopy_entry *entry);
int fusecopy_watch_begin(double seconds, uint64_t marks);
struct fusecopy_watch *fusecopy_get_watch(void);
int fusecopy_watch_read(void);
void fusecopy_watch_notify(void);
void fusecopy_watch_end(void);
void fusecopy_watch_drain(void);
int fusecopy_watch_catch_up(double seconds);
double fusecopy_watch_limit(uint64_t number, double seconds);
int fusecopy_watch_has_epochs(void);
int fusecopy_notice_name(uint64_t directory, const char *name);
int fusecopy_watch_is_suspect(uint64_t number);
int64_t fusecopy_watch_changed_ns(uint64_t number);

extern "Python+C" {
    int on_crowded(void);
    void on_look(uint64_t fh, pid_t pid, int writes);
    void on_slow_read(fuse_req_t req, uint64_t fh, size_t size, int64_t off);
    void on_slow_write(fuse_req_t req, uint64_t fh, char *data, size_t size, int64_t off, size_t before,
                       int append, uid_t writer);
    void on_privileged_write(fuse_req_t req, uint64_t fh);
    void on_setattr(fuse_req_t req, uint64_t inode, struct fusecopy_setattr *change);
    void on_copy_file_range(fuse_req_t req, struct fusecopy_copy *copy);
    void on_lseek(fuse_req_t req, uint64_t inode, uint64_t fh, int64_t off, int whence);
    void on_fallocate(fuse_req_t req, uint64_t inode, uint64_t fh, int mode, int64_t off, int64_t length);
    void on_ioctl(fuse_req_t req, uint64_t inode, uint64_t fh, unsigned int cmd, unsigned int flags,
                  char *data, size_t size, size_t out_size);
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
}
"""


def pkg_config(*arguments: str) -> list[str]:
    """What pkg-config says of fuse3, as compiler arguments; a build without it ends with one clear line."""
    try:
        return shlex.split(subprocess.check_output(["pkg-config", *arguments, "fuse3"], text=True))
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            "fusecopy needs pkg-config and the headers of libfuse 3 to build"
            " (Debian: apt install gcc pkg-config libfuse3-dev)"
        ) from error


ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
ffibuilder.set_source(
    "fusecopy.native._native",
    '#include "nodes.h"\n#include "watch.h"',
    sources=[f"fusecopy/{name}.c" for name in SOURCES],
    depends=[
        f"fusecopy/{name}.h"
        for name in ("libfuse/loop", "libfuse/backlog", "native/shared", "native/nodes", "native/watch")
    ],
    include_dirs=["fusecopy/libfuse", "fusecopy/native"],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=[*pkg_config("--cflags"), "-O2", "-Wall", "-Wextra"],
    extra_link_args=[*pkg_config("--libs"), "-ldl"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
