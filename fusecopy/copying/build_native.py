"""Builder of `fusecopy.copying._native`: the copy ioctls Python has no function for.

Structs and constants come from the kernel's own headers. Every call answers 0 or more, or -errno, and runs
without the interpreter's lock, as all functions of cffi's API mode do.

Run from the top of the source tree to build the module beside this file.
"""

from cffi import FFI

CDEF = """
#define FIEMAP_FLAG_SYNC ...
#define FIEMAP_EXTENT_UNKNOWN ...
#define FIEMAP_EXTENT_DELALLOC ...
#define FIEMAP_EXTENT_ENCODED ...
#define FIEMAP_EXTENT_DATA_INLINE ...
#define FIEMAP_EXTENT_UNWRITTEN ...
#define FIEMAP_EXTENT_SHARED ...
#define FILE_DEDUPE_RANGE_DIFFERS ...
#define FS_IMMUTABLE_FL ...
#define FS_APPEND_FL ...
#define FS_NOCOW_FL ...
#define EXTENTS_PER_CALL ...
#define FC_SHARED ...
#define FC_NOT_SHARED ...
#define FC_HOLE ...
#define FC_UNPROVABLE ...
#define FC_ENCODED ...
#define FC_STATES ...
#define FC_OWN_STORAGE ...
#define FC_TOLD_PLACES ...
#define FC_DONE ...
#define FC_GONE ...
#define FC_REFUSED ...

struct fc_entry {
    uint64_t device, ino, links, size, rdev;
    uint32_t mode, uid, gid;
    ...;
};

struct fc_cloned {
    int state;
    uint64_t device, ino, size;
    uint64_t generation;
    uint64_t shared, holes, unprovable;
    int64_t begun_ns, ended_ns;
};

struct fiemap_extent {
    uint64_t fe_logical;
    uint64_t fe_physical;
    uint64_t fe_length;
    uint32_t fe_flags;
    ...;
};

struct fc_part {
    uint64_t offset;
    uint64_t length;
    uint32_t state;
    uint32_t flags;
};

struct fc_walk {
    ...;
};

struct fc_files {
    uint64_t size_in;
    uint64_t size_out;
    int block;
    int same;
};

int fc_storage(int fd);
#define FC_NEEDLE ...
#define FC_DIFFERENT ...
#define FC_SAME ...
#define FC_SAME_CONSTANT ...
int fc_same_bytes(int one, uint64_t at_one, int other, uint64_t at_other, uint64_t length);
int64_t fc_find_bytes(int in, uint64_t from, uint64_t window, int what, uint64_t at, uint64_t length);

int fc_fiemap(int fd, uint64_t start, uint64_t length, uint32_t flags, struct fiemap_extent *extents);
void fc_begin(struct fc_walk *walk, int source, uint64_t offset_in, int destination, uint64_t offset_out,
              uint64_t length, uint32_t fiemap_flags, bool equal);
int fc_next_part(struct fc_walk *walk, struct fc_part *part);
int fc_totals(int source, uint64_t offset_in, int destination, uint64_t offset_out, uint64_t length,
              uint32_t fiemap_flags, bool equal, uint64_t *totals);

static int fc_clone_range(int source, uint64_t offset_in, uint64_t length, int destination,
                          uint64_t offset_out);
static int fc_dedupe_range(int source, uint64_t offset_in, uint64_t length, int destination,
                           uint64_t offset_out, uint64_t *deduped);
static int fc_look(int source, int destination, struct fc_files *files);
static int fc_one_filesystem(int one, int other);
static int fc_punch_hole(int fd, int64_t offset, int64_t length);
static int fc_extend(int fd, int64_t offset, int64_t length);
static int fc_block_size(int fd);
static int fc_inode_flags(int fd, uint32_t *flags);
static int fc_describe(int fd, struct fc_entry *e);
static int fc_open_entry(int directory, const char *path, int flags, struct fc_entry *e);
static int fc_create_file(int source, int directory, const char *name, const struct fc_entry *e, int clone,
                          int *cloned);
static int fc_copy_attributes(int source, int destination, const struct fc_entry *e);
static int fc_drop_acls(int fd);
static int fc_clone_files(int from, int to, const char *names, int count, uint64_t largest, int64_t budget_ns,
                          struct fc_cloned *found);
static int fc_syncfs(int fd);
static uint64_t fc_generation(int fd);
"""

SOURCE = """
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <linux/fs.h>
#include <unistd.h>
#include "contents.h"
#include "sharing.h"

static int fc_clone_range(int source, uint64_t offset_in, uint64_t length, int destination,
                          uint64_t offset_out)
{
    struct file_clone_range range = {
        .src_fd = source, .src_offset = offset_in, .src_length = length, .dest_offset = offset_out,
    };
    return ioctl(destination, FICLONERANGE, &range) < 0 ? -errno : 0;
}

/* 0 or FILE_DEDUPE_RANGE_DIFFERS; the destination's status is an errno of its own. */
static int fc_dedupe_range(int source, uint64_t offset_in, uint64_t length, int destination,
                           uint64_t offset_out, uint64_t *deduped)
{
    struct {
        struct file_dedupe_range head;
        struct file_dedupe_range_info info;
    } range;

    memset(&range, 0, sizeof range);
    range.head.src_offset = offset_in;
    range.head.src_length = length;
    range.head.dest_count = 1;
    range.info.dest_fd = destination;
    range.info.dest_offset = offset_out;
    if (ioctl(source, FIDEDUPERANGE, &range) < 0)
        return -errno;
    *deduped = range.info.bytes_deduped;
    return range.info.status;
}

struct fc_files {
    uint64_t size_in;
    uint64_t size_out;
    int block;
    int same;
};

/* The block size that the kernel's alignment rules for clones go by. A stacked filesystem has none of its own
 * (EINVAL); what lies below goes by its own, which statfs(2) tells. */
static int fc_block_size(int fd)
{
    struct statvfs st;
    int size;

    if (ioctl(fd, FIGETBSZ, &size) == 0)
        return size;
    if (errno == EINVAL && fstatvfs(fd, &st) == 0)
        return st.f_bsize;
    return -errno;
}

/* On some filesystems (btrfs, XFS) a descriptor from before chattr +i may still be written,
 * but not copied into. */
static int fc_is_immutable(int fd)
{
    struct statx st;

    return statx(fd, "", AT_EMPTY_PATH, 0, &st) == 0 && st.stx_attributes & STATX_ATTR_IMMUTABLE;
}

/* Two files before a copy, refused as generic_file_rw_checks does (fs/read_write.c, Linux 5.3 to 7.2).
 * block is 0 where the destination does not tell it. */
static int fc_look(int source, int destination, struct fc_files *files)
{
    struct stat in, out;
    int flags, block;

    if (fstat(source, &in) < 0 || fstat(destination, &out) < 0)
        return -errno;
    if (S_ISDIR(in.st_mode) || S_ISDIR(out.st_mode))
        return -EISDIR;
    if (!S_ISREG(in.st_mode) || !S_ISREG(out.st_mode))
        return -EINVAL;
    if ((flags = fcntl(destination, F_GETFL)) < 0)
        return -errno;
    if (fc_is_immutable(destination))
        return -EPERM;
    if (flags & O_APPEND) /* pwrite would put the bytes at the file's end, whatever offset it is given */
        return -EBADF;
    files->size_in = in.st_size;
    files->size_out = out.st_size;
    files->same = in.st_dev == out.st_dev && in.st_ino == out.st_ino;
    block = fc_block_size(destination);
    files->block = block < 0 ? 0 : block;
    return 0;
}

/* 1 where st_dev or the mount (told since Linux 5.8) is the same for both, 0 where that does not tell. */
static int fc_one_filesystem(int one, int other)
{
    struct statx a, b;

    if (statx(one, "", AT_EMPTY_PATH, STATX_MNT_ID, &a) < 0 ||
        statx(other, "", AT_EMPTY_PATH, STATX_MNT_ID, &b) < 0)
        return -errno;
    if (a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor)
        return 1;
    return a.stx_mask & b.stx_mask & STATX_MNT_ID && a.stx_mnt_id == b.stx_mnt_id;
}

static int fc_punch_hole(int fd, int64_t offset, int64_t length)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) < 0 ? -errno : 0;
}

static int fc_extend(int fd, int64_t offset, int64_t length)
{
    return fallocate(fd, 0, offset, length) < 0 ? -errno : 0;
}

/* The kernel writes an int although the ioctl's number says long. */
static int fc_inode_flags(int fd, uint32_t *flags)
{
    unsigned int word = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &word) < 0)
        return -errno;
    *flags = word;
    return 0;
}

static int fc_syncfs(int fd)
{
    return syncfs(fd) < 0 ? -errno : 0;
}

/* What tells a file from another one that had or will have its inode number: the time when it was made (Linux
 * 4.11) or, where that is not kept (NFS), a sum of its file handle; 0 where it has neither. */
static uint64_t fc_generation(int fd)
{
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle = { .head.handle_bytes = MAX_HANDLE_SZ };
    struct statx st;
    uint64_t sum = 0xcbf29ce484222325; /* FNV-1a */
    int mount;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &st) == 0 && st.stx_mask & STATX_BTIME)
        return st.stx_btime.tv_sec * 1000000000ULL + st.stx_btime.tv_nsec;
    if (name_to_handle_at(fd, "", &handle.head, &mount, AT_EMPTY_PATH) < 0)
        return 0;
    for (unsigned n = 0; n < handle.head.handle_bytes; n++)
        sum = (sum ^ handle.head.f_handle[n]) * 0x100000001b3;
    return sum;
}

#include "tree.h"
#include "batch.h"
"""

ffibuilder = FFI()
ffibuilder.cdef(CDEF)
ffibuilder.set_source(
    "fusecopy.copying._native",
    SOURCE,
    sources=["fusecopy/copying/sharing.c", "fusecopy/copying/contents.c"],
    depends=[
        "fusecopy/copying/sharing.h",
        "fusecopy/copying/contents.h",
        "fusecopy/copying/tree.h",
        "fusecopy/copying/batch.h",
    ],
    include_dirs=["fusecopy/copying"],
    define_macros=[("_GNU_SOURCE", None)],
    extra_compile_args=["-O2", "-Wall", "-Wextra"],
)

if __name__ == "__main__":
    ffibuilder.compile(verbose=True)
