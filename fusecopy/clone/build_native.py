"""Builder of `fusecopy.clone._native`: the filter and what a supervisor does with its notifications.

Structs and numbers come from the kernel's own headers. The filter is a few instructions of classic BPF, for
which a package such as libseccomp's binding would be one more thing to install. Every call answers 0 or more,
or -errno, and runs without the interpreter's lock, as all functions of cffi's API mode do.

Run from the top of the source tree to build the module beside this file.
"""

from cffi import FFI

CDEF = """
#define FICLONE ...
#define FICLONERANGE ...
#define FIDEDUPERANGE ...
#define FS_IOC_FIEMAP ...
#define FIEMAP_FLAG_SYNC ...
#define FIEMAP_EXTENT_LAST ...
#define MOST_EXTENTS ...
#define FILE_DEDUPE_RANGE_SAME ...
#define FILE_DEDUPE_RANGE_DIFFERS ...

struct file_clone_range {
    int64_t src_fd;
    uint64_t src_offset;
    uint64_t src_length;
    uint64_t dest_offset;
};
struct file_dedupe_range_info {
    int64_t dest_fd;
    uint64_t dest_offset;
    uint64_t bytes_deduped;
    int32_t status;
    uint32_t reserved;
};
struct file_dedupe_range {
    uint64_t src_offset;
    uint64_t src_length;
    uint16_t dest_count;
    uint16_t reserved1;
    uint32_t reserved2;
    struct file_dedupe_range_info info[];
};
struct fiemap_extent {
    uint64_t fe_logical;
    uint64_t fe_physical;
    uint64_t fe_length;
    uint32_t fe_flags;
    ...;
};
struct fiemap {
    uint64_t fm_start;
    uint64_t fm_length;
    uint32_t fm_flags;
    uint32_t fm_mapped_extents;
    uint32_t fm_extent_count;
    uint32_t fm_reserved;
    struct fiemap_extent fm_extents[];
};

struct fusecopy_call {
    uint64_t id;
    int thread;
    int fd;
    uint32_t command;
    uint64_t argument;
};

struct fusecopy_file {
    uint64_t device;
    uint32_t mode;
    int flags;
};

int fusecopy_start(char *const command[], int *listener, int *failed);
int fusecopy_receive(int listener, struct fusecopy_call *call);
int fusecopy_valid(int listener, uint64_t id);
int fusecopy_answer(int listener, uint64_t id, int error);
int fusecopy_continue(int listener, uint64_t id);
int fusecopy_pidfd(int thread, int process);
int fusecopy_take(int pidfd, int fd, struct fusecopy_file *file);
int fusecopy_write_back(int fd);
int fusecopy_ioctl(int fd, unsigned long number, char *argument);
int fusecopy_become(unsigned int uid, unsigned int gid, const unsigned int *groups, size_t count);
"""

SOURCE = r"""
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "become.h"
#include "start.h"

/* FIEMAP_MAX_EXTENTS of fs/ioctl.c. */
#define MOST_EXTENTS (UINT32_MAX / sizeof(struct fiemap_extent))

#define PIDFD_THREAD O_EXCL

struct fusecopy_call {
    uint64_t id;
    int thread;
    int fd;
    uint32_t command;
    uint64_t argument;
};

struct fusecopy_file {
    uint64_t device;
    uint32_t mode;
    int flags;
};

static int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

static int fusecopy_receive(int listener, struct fusecopy_call *call)
{
    struct seccomp_notif notification;

    memset(&notification, 0, sizeof(notification));
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notification) < 0)
        return -errno;
    call->id = notification.id;
    call->thread = notification.pid;
    call->fd = notification.data.args[0];
    call->command = notification.data.args[1];
    call->argument = notification.data.args[2];
    return 0;
}

static int fusecopy_valid(int listener, uint64_t id)
{
    return result(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id));
}

static int respond(int listener, uint64_t id, int error, uint32_t flags)
{
    struct seccomp_notif_resp response = { .id = id, .error = -error, .flags = flags };

    return result(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response));
}

static int fusecopy_answer(int listener, uint64_t id, int error)
{
    return respond(listener, id, error, 0);
}

/* The kernel carries the call out as if there were no filter, and checks everything itself. */
static int fusecopy_continue(int listener, uint64_t id)
{
    return respond(listener, id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

/* A thread has a pidfd of its own from Linux 6.9 on. Before, the process's serves if the two share their
 * descriptors, as threads do that have not called unshare(2). */
static int fusecopy_pidfd(int thread, int process)
{
    int pidfd = result(syscall(SYS_pidfd_open, thread, PIDFD_THREAD));

    if (pidfd != -EINVAL)
        return pidfd;
    if (thread != process && syscall(SYS_kcmp, thread, process, KCMP_FILES, 0, 0) != 0)
        return -EOPNOTSUPP;
    return result(syscall(SYS_pidfd_open, process, 0));
}

/* The caller's open file as a descriptor of ours, and what it is: without a request to the server, because
 * neither its type nor its device can have changed. */
static int fusecopy_take(int pidfd, int fd, struct fusecopy_file *file)
{
    struct statx st;
    int taken = result(syscall(SYS_pidfd_getfd, pidfd, fd, 0));

    if (taken < 0)
        return taken;
    file->flags = fcntl(taken, F_GETFL);
    if (statx(taken, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0) {
        close(taken);
        return -EIO;
    }
    file->device = makedev(st.stx_dev_major, st.stx_dev_minor);
    file->mode = st.stx_mode;
    return taken;
}

static int fusecopy_write_back(int fd)
{
    unsigned int how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

    return result(sync_file_range(fd, 0, 0, how));
}

static int fusecopy_ioctl(int fd, unsigned long number, char *argument)
{
    return result(ioctl(fd, number, argument));
}
"""

ffibuilder = FFI()
ffibuilder.cdef(CDEF)
ffibuilder.set_source(
    "fusecopy.clone._native",
    SOURCE,
    define_macros=[("_GNU_SOURCE", None)],
    sources=["fusecopy/clone/start.c"],
    include_dirs=["fusecopy", "fusecopy/clone"],
    depends=["fusecopy/become.h", "fusecopy/clone/start.h"],
    extra_compile_args=["-O2", "-Wall", "-Wextra"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
