"""Builder of `fusecopy.clone._native`: the filter and what a supervisor does with its notifications.

Structs and numbers come from the kernel's own headers. The filter is eleven instructions of classic BPF, for
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

int fusecopy_listen(void);
int fusecopy_receive(int listener, struct fusecopy_call *call);
int fusecopy_valid(int listener, uint64_t id);
int fusecopy_answer(int listener, uint64_t id, int error);
int fusecopy_continue(int listener, uint64_t id);
int fusecopy_pidfd(int thread, int process);
int fusecopy_pidfd_getfd(int pidfd, int fd);
int fusecopy_become(unsigned int uid, unsigned int gid, const unsigned int *groups, size_t count);
"""

SOURCE = r"""
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "become.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#define NATIVE_ARCH 0 /* the filter below reads the low half of an argument in its first place */
#elif defined(__x86_64__) && !defined(__ILP32__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define NATIVE_ARCH AUDIT_ARCH_RISCV64
#elif defined(__powerpc64__)
#define NATIVE_ARCH AUDIT_ARCH_PPC64LE
#else
#define NATIVE_ARCH 0 /* no filter for this machine */
#endif

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

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

static int result(long value)
{
    return value < 0 ? -errno : (int)value;
}

static int install(unsigned long flags)
{
    /* Calls of another architecture (32-bit programs, x32) go on to the kernel, which refuses them on FUSE as
     * it always does and serves them elsewhere. Of the command the kernel itself takes the low half only; C
     * libraries whose ioctl takes an int fill the other with its sign. */
    static struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 0, 7),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FICLONE, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FICLONERANGE, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FIDEDUPERANGE, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FS_IOC_FIEMAP, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

    return result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

/* Install the filter for this process and all it will start, and return its listener. SPEC_ALLOW, because
 * this is no sandbox: kernels before 5.16 would slow the whole program down. WAIT_KILLABLE_RECV (Linux 5.19):
 * a signal that is not fatal must not interrupt, and repeat, a clone that is being made. */
static int fusecopy_listen(void)
{
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    struct seccomp_notif_sizes sizes;
    int listener;

    if (!NATIVE_ARCH)
        return -EOPNOTSUPP;
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
        return -errno;
    if (sizes.seccomp_notif != sizeof(struct seccomp_notif) ||
        sizes.seccomp_notif_resp != sizeof(struct seccomp_notif_resp))
        return -EOPNOTSUPP;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    listener = install(flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    return listener == -EINVAL ? install(flags) : listener;
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

static int fusecopy_pidfd_getfd(int pidfd, int fd)
{
    return result(syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}
"""

ffibuilder = FFI()
ffibuilder.cdef(CDEF)
ffibuilder.set_source(
    "fusecopy.clone._native",
    SOURCE,
    define_macros=[("_GNU_SOURCE", None)],
    include_dirs=["fusecopy"],
    depends=["fusecopy/become.h"],
    extra_compile_args=["-O2", "-Wall", "-Wextra"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
