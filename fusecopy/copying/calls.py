"""The calls Python has no function for. Each raises OSError; offsets and lengths are bytes."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from fusecopy.copying._native import ffi, lib


class Extent(NamedTuple):
    """One piece of a file as FIEMAP gives it: where in the file, where on the device, FIEMAP_EXTENT_*."""

    logical: int
    physical: int
    length: int
    flags: int

    @property
    def end(self) -> int:
        """Where in the file the piece ends."""
        return self.logical + self.length


class FileId(NamedTuple):
    """Which file it is, for good, although inode numbers are used again.

    Attributes:
        device, ino: st_dev and st_ino.
        generation: tells it from others that have that number at other times; 0 where nothing does.
    """

    device: int
    ino: int
    generation: int


class Files(NamedTuple):
    """What a copy has to know of its two files.

    Attributes:
        size_in: size of the source.
        size_out: size of the destination.
        block: the destination's block size, as `block_size` has it; 0 where it does not tell it.
        same: they are one file of the backing.
    """

    size_in: int
    size_out: int
    block: int
    same: bool


def look(source: int, destination: int) -> Files:
    """Look at two files before a copy.

    Raises:
        OSError: vfs_copy_file_range would refuse them: EISDIR for a directory, EINVAL for what is no regular
            file either, EPERM for an immutable destination, EBADF for one opened with O_APPEND.
    """
    files = ffi.new("struct fc_files *")
    check(lib.fc_look(source, destination, files))
    return Files(files.size_in, files.size_out, files.block, bool(files.same))


def one_filesystem(one: int, other: int) -> bool:
    """Whether two descriptors are known to lie on one filesystem by st_dev, or by the mount they were opened
    on. False says nothing: a filesystem may have many of either."""
    return bool(check(lib.fc_one_filesystem(one, other)))


def mount_id(fd: int) -> int:
    """The id of the mount a descriptor was opened on, as /proc/self/mountinfo has it (statx, Linux 5.8); by
    /proc/self/fdinfo before that."""
    ident = int(check(lib.fc_mount_id(fd)))
    if ident:
        return ident
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))


def clone_range(source: int, offset_in: int, length: int, destination: int, offset_out: int) -> None:
    """FICLONERANGE. It clones all or nothing; a length of 0 would mean "to the source's end"."""
    check(lib.fc_clone_range(source, offset_in, length, destination, offset_out))


def dedupe_range(
    source: int, offset_in: int, length: int, destination: int, offset_out: int
) -> tuple[bool, int]:
    """FIDEDUPERANGE with one destination: (the bytes are equal, how many the kernel says it dealt with).

    The second is the length asked for, clamped to what one call takes, and no statement about sharing.
    """
    deduped = ffi.new("uint64_t *")
    status = check(lib.fc_dedupe_range(source, offset_in, length, destination, offset_out, deduped))
    return status != lib.FILE_DEDUPE_RANGE_DIFFERS, int(deduped[0])


def fiemap(fd: int, offset: int, length: int, flags: int) -> list[Extent]:
    """One FS_IOC_FIEMAP: the first EXTENTS_PER_CALL extents that touch the range."""
    found = ffi.new("struct fiemap_extent[]", lib.EXTENTS_PER_CALL)
    count = check(lib.fc_fiemap(fd, offset, length, flags, found))
    return [Extent(e.fe_logical, e.fe_physical, e.fe_length, e.fe_flags) for e in found[0:count]]


def gives_places(fd: int) -> bool:
    """Whether FIEMAP of a file proves anything: its filesystem is one of those known to tell places that are
    equal where storage is."""
    return lib.fc_storage(fd) == lib.FC_TOLD_PLACES


def has_own_storage(fd: int) -> bool:
    """Whether a file's filesystem is known to share storage with no other one."""
    return lib.fc_storage(fd) in (lib.FC_OWN_STORAGE, lib.FC_TOLD_PLACES)


def compare(
    source: int, offset_in: int, destination: int, offset_out: int, length: int, flags: int, equal: bool
) -> list[int]:
    """How many bytes of a destination range are in which state against the source's, by FC_*.

    Args:
        flags: FIEMAP_FLAG_*, for both files.
        equal: the bytes are known to be equal, as the one range was copied to the other just now.
    """
    totals = ffi.new("uint64_t[]", lib.FC_STATES)
    check(lib.fc_totals(source, offset_in, destination, offset_out, length, flags, equal, totals))
    return ffi.unpack(totals, lib.FC_STATES)


def compared(
    source: int, offset_in: int, destination: int, offset_out: int, length: int, flags: int
) -> Iterator[tuple[int, int, int, int]]:
    """The same part by part, of bytes of which nothing is known: where it begins in the range, its length,
    FC_* and FIEMAP_EXTENT_*.

    Args:
        source: -1 where nothing can be shared with it.
    """
    walk, part = ffi.new("struct fc_walk *"), ffi.new("struct fc_part *")
    lib.fc_begin(walk, source, offset_in, destination, offset_out, length, flags, False)
    while check(lib.fc_next_part(walk, part)):
        yield part.offset, part.length, part.state, part.flags


def punch_hole(fd: int, offset: int, length: int) -> None:
    """fallocate with PUNCH_HOLE|KEEP_SIZE: the range reads as zeros and whole blocks of it are freed."""
    check(lib.fc_punch_hole(fd, offset, length))


def extend(fd: int, end: int) -> None:
    """Make a file at least `end` bytes long. Never shortens it, whoever writes at the same time."""
    check(lib.fc_extend(fd, end - 1, 1))


def block_size(fd: int) -> int:
    """FIGETBSZ: the block size that the kernel's alignment rules for clones go by."""
    return check(lib.fc_block_size(fd))


def inode_flags(fd: int) -> int:
    """FS_IOC_GETFLAGS: the FS_*_FL bits that lsattr shows."""
    flags = ffi.new("uint32_t *")
    check(lib.fc_inode_flags(fd, flags))
    return int(flags[0])


def file_id(fd: int) -> FileId:
    """Which file a descriptor is of. Raises OSError for a closed descriptor."""
    st = os.fstat(fd)
    return FileId(st.st_dev, st.st_ino, lib.fc_generation(fd))


def rename_new(directory: int, old: bytes, new: bytes) -> None:
    """renameat2(2) with RENAME_NOREPLACE, within one directory: EEXIST where `new` is there."""
    check(lib.fc_rename_new(directory, old, new))


def resident_bytes(fd: int) -> int:
    """mincore(2): how much of a file is in the page cache. Only who may write the file, or owns it, is told
    (Linux 5.2 and later); for others all is."""
    return int(check(lib.fc_resident_bytes(fd)))


def servers_size(fd: int) -> int:
    """statx(2) with AT_STATX_FORCE_SYNC: a file's size as its server has it."""
    return int(check(lib.fc_servers_size(fd)))


def syncfs(fd: int) -> None:
    """syncfs(2): have the kernel write out what it holds of a filesystem."""
    check(lib.fc_syncfs(fd))


def check(result: int) -> int:
    """The result of a native call; OSError where it is -errno."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
