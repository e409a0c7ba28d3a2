"""The calls Python has no function for. Each raises OSError; offsets and lengths are bytes."""

import errno
import os
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


def clone_range(source: int, offset_in: int, length: int, destination: int, offset_out: int) -> None:
    """FICLONERANGE. It clones all or nothing; a length of 0 would mean "to the source's end"."""
    _check(lib.fc_clone_range(source, offset_in, length, destination, offset_out))


def dedupe_range(
    source: int, offset_in: int, length: int, destination: int, offset_out: int
) -> tuple[bool, int]:
    """FIDEDUPERANGE with one destination: (the bytes are equal, how many the kernel says it dealt with).

    The second is the length asked for, clamped to what one call takes, and no statement about sharing.
    """
    deduped = ffi.new("uint64_t *")
    status = _check(lib.fc_dedupe_range(source, offset_in, length, destination, offset_out, deduped))
    return status != lib.FILE_DEDUPE_RANGE_DIFFERS, int(deduped[0])


def fiemap(fd: int, offset: int, length: int, flags: int) -> list[Extent]:
    """One FS_IOC_FIEMAP: the first EXTENTS_PER_CALL extents that touch the range."""
    found = ffi.new("struct fiemap_extent[]", lib.EXTENTS_PER_CALL)
    count = _check(lib.fc_fiemap(fd, offset, length, flags, found))
    return [Extent(e.fe_logical, e.fe_physical, e.fe_length, e.fe_flags) for e in found[0:count]]


def punch_hole(fd: int, offset: int, length: int) -> None:
    """fallocate with PUNCH_HOLE|KEEP_SIZE: the range reads as zeros and whole blocks of it are freed."""
    _check(lib.fc_punch_hole(fd, offset, length))


def extend(fd: int, end: int) -> None:
    """Make a file at least `end` bytes long. Never shortens it, whoever writes at the same time."""
    _check(lib.fc_extend(fd, end - 1, 1))


def block_size(fd: int) -> int:
    """FIGETBSZ: the block size that the kernel's alignment rules for clones go by. A stacked filesystem has
    none of its own (EINVAL); what lies below goes by its own, which statfs(2) tells."""
    size = lib.fc_block_size(fd)
    return os.fstatvfs(fd).f_bsize if size == -errno.EINVAL else _check(size)


def inode_flags(fd: int) -> int:
    """FS_IOC_GETFLAGS: the FS_*_FL bits that lsattr shows."""
    flags = ffi.new("uint32_t *")
    _check(lib.fc_inode_flags(fd, flags))
    return int(flags[0])


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
