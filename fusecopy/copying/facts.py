"""The facts a refusal is explained by, each measured when it is first asked for and not before."""

import fcntl
import os
import resource
from dataclasses import dataclass
from functools import cached_property

from fusecopy.copying import calls, errnos, filesystems
from fusecopy.copying._native import lib
from fusecopy.copying.filesystems import Mount
from fusecopy.copying.lacks import Lack, lack
from fusecopy.copying.records import CopyPath, Request
from fusecopy.copying.sharing import extents

COMPARED = 1 << 20
"""Bytes compared at a time where two ranges are looked at for a difference."""


class CopyEnd:
    """One side of a copy."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        self.fd = fd
        self.offset = offset
        self.end = offset + length
        self.stat = os.fstat(fd)

    @cached_property
    def mount(self) -> Mount:
        """Where it lies."""
        return filesystems.mount_of(self.fd)

    @cached_property
    def device(self) -> str:
        """st_dev as major:minor."""
        return f"{os.major(self.stat.st_dev)}:{os.minor(self.stat.st_dev)}"

    @cached_property
    def access(self) -> int:
        """O_RDONLY, O_WRONLY or O_RDWR."""
        return self._open_flags & os.O_ACCMODE

    @cached_property
    def appends(self) -> bool:
        """Opened with O_APPEND."""
        return bool(self._open_flags & os.O_APPEND)

    @cached_property
    def _open_flags(self) -> int:
        return fcntl.fcntl(self.fd, fcntl.F_GETFL)

    @cached_property
    def _attributes(self) -> int:
        try:
            return calls.inode_flags(self.fd)
        except OSError:
            return 0

    @property
    def immutable(self) -> bool:
        """chattr +i"""
        return bool(self._attributes & lib.FS_IMMUTABLE_FL)

    @property
    def append_only(self) -> bool:
        """chattr +a"""
        return bool(self._attributes & lib.FS_APPEND_FL)

    @property
    def nocow(self) -> bool:
        """chattr +C"""
        return bool(self._attributes & lib.FS_NOCOW_FL)

    @cached_property
    def inline(self) -> bool:
        """The data lies in metadata, as FIEMAP says."""
        try:
            found = extents(self.fd, self.offset, self.end - self.offset, sync=True)
        except OSError:
            return False
        return any(extent.flags & lib.FIEMAP_EXTENT_DATA_INLINE for extent in found)

    @cached_property
    def swap(self) -> str:
        """The name under which it is in use as swap, or ""."""
        with open("/proc/swaps", "rb") as table:
            names = [line.split()[0] for line in table.readlines()[1:]]
        for name in (os.fsdecode(name.decode("unicode_escape").encode("latin-1")) for name in names):
            try:
                if os.path.samestat(os.stat(name), self.stat):
                    return os.fsencode(name).decode(errors="replace")
            except OSError:
                continue
        return ""

    @cached_property
    def readonly(self) -> bool:
        """Mounted read-only."""
        return bool(os.fstatvfs(self.fd).f_flag & os.ST_RDONLY)

    @cached_property
    def free(self) -> int:
        """Bytes free to an unprivileged user."""
        space = os.fstatvfs(self.fd)
        return space.f_bavail * space.f_frsize


@dataclass
class Facts:
    """What is known of a refused copy. Raises OSError where a descriptor is closed."""

    request: Request
    path: CopyPath
    errno: int

    def __post_init__(self) -> None:
        request = self.request
        self.source = CopyEnd(request.source, request.offset_in, request.length)
        self.destination = CopyEnd(request.destination, request.offset_out, request.length)

    @property
    def name(self) -> str:
        """The errno's name."""
        return errnos.name(self.errno)

    @cached_property
    def block(self) -> int:
        """The block size clones go by."""
        return calls.block_size(self.request.destination)

    @property
    def lack(self) -> Lack:
        """What is to be said of a filesystem that shares nothing."""
        return lack(self.destination.mount)

    @cached_property
    def limit(self) -> int:
        """RLIMIT_FSIZE of this process, or -1."""
        return resource.getrlimit(resource.RLIMIT_FSIZE)[0]

    @cached_property
    def same_file(self) -> bool:
        """Both sides are one inode."""
        return os.path.samestat(self.source.stat, self.destination.stat)

    @cached_property
    def same_filesystem(self) -> bool:
        """Both sides lie on one filesystem, in one subvolume or two."""
        return filesystems.same(self.request.source, self.request.destination)

    @property
    def ends_source(self) -> bool:
        """The range ends where the source does."""
        return self.source.end == self.source.stat.st_size

    @property
    def shares_tail(self) -> bool:
        """An unaligned end is no obstacle, as the files end there (generic_remap_checks)."""
        size = self.destination.stat.st_size
        deduped = self.path is CopyPath.DEDUPE
        return self.ends_source and (
            self.destination.end == size if deduped else self.destination.end >= size
        )

    @cached_property
    def difference(self) -> int:
        """Where in the range the two files first differ, or -1."""
        length, done = self.request.length, 0
        while done < length:
            size = min(COMPARED, length - done)
            one = os.pread(self.source.fd, size, self.source.offset + done)
            other = os.pread(self.destination.fd, size, self.destination.offset + done)
            if one != other:
                unequal = (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
                return done + next(unequal, min(len(one), len(other)))
            if not one:
                return -1
            done += len(one)
        return -1
