"""Open directories: listing with attributes, positions that stay valid, sync.

Positions are the backing's own (d_off), so telldir and seekdir work as there, and an entry removed or added
while a listing goes on neither hides another nor shows one twice. Methods block, raise OSError, and may run
in any thread; the kernel lists one open directory from one thread at a time.
"""

import errno
import itertools
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fusecopy.filesystem import kernel
from fusecopy.filesystem.inodes import Inode, InodeTable
from fusecopy.filesystem.names import Names
from fusecopy.libfuse import Emit, Opened
from fusecopy.libfuse import Entry as Told

BUFFER = 32768
DOTS = (b".", b"..")
DIRENT = struct.Struct("=QqHB")


class Entry(NamedTuple):
    """A directory entry as getdents64(2) has it; `after` is the position behind it."""

    name: bytes
    ino: int
    after: int
    kind: int


class _Listing:
    """An open directory and the entries fetched ahead of what was asked for."""

    def __init__(self, fd: int, number: int) -> None:
        self.fd = fd
        self.number = number
        self._position = 0
        self._fetched: list[Entry] = []

    def entries(self, off: int) -> Iterator[Entry]:
        """Entries from position `off` on. One that is not followed by a call of `taken` comes again."""
        if off != self._position:
            os.lseek(self.fd, off, os.SEEK_SET)
            self._position, self._fetched = off, []
        while self._fetched or self._fetch():
            yield self._fetched[-1]

    def taken(self) -> None:
        """The entry yielded last was dealt with."""
        self._position = self._fetched.pop().after

    def _fetch(self) -> bool:
        self._fetched = list(_unpack(kernel.getdents(self.fd, BUFFER)))[::-1]
        return bool(self._fetched)


class Directories:
    """Operations on open directories."""

    def __init__(self, inodes: InodeTable, names: Names, cached: bool) -> None:
        """With `cached` the kernel may remember listings until it changes the directory itself."""
        self._inodes = inodes
        self._names = names
        self._cached = cached
        self._lock = threading.Lock()
        self._handles = itertools.count(1)
        self._open: dict[int, _Listing] = {}

    def opendir(self, number: int) -> Opened:
        """Open a directory."""
        with self._inodes.borrow(number) as descriptor:
            fd = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with self._lock:
            handle = next(self._handles)
            self._open[handle] = _Listing(fd, number)
        return Opened(handle, keep_cache=self._cached, cache_readdir=self._cached)

    def readdir(self, fh: int, off: int, plus: bool, emit: Emit) -> None:
        """Offer entries from position `off` on until there are no more or the reply is full.

        With `plus` every entry taken but "." and ".." counts as a look-up. An error after the first is left
        to the next call, because the kernel would not see, and never forget, the entries of a failed one.
        """
        listing = self._get(fh)
        taken = 0
        try:
            for item in listing.entries(off):
                entry = self._looked_up(listing, item) if plus else self._named(listing, item)
                if entry is not None and not emit(item.name, entry, item.after):
                    self._untold(plus, item, entry)
                    return
                listing.taken()
                taken += 1
        except OSError:
            if not taken:
                raise

    def fsyncdir(self, fh: int, datasync: bool) -> None:
        """fsync(2) or fdatasync(2) of a directory."""
        if datasync:
            os.fdatasync(self._get(fh).fd)
        else:
            os.fsync(self._get(fh).fd)

    def releasedir(self, fh: int) -> None:
        """Close an open directory."""
        listing = self._get(fh)
        with self._lock:
            del self._open[fh]
        os.close(listing.fd)

    def descriptor(self, fh: int) -> int:
        """The backing descriptor of a handle."""
        return self._get(fh).fd

    def inode(self, fh: int) -> Inode:
        """The directory behind a handle."""
        return self._inodes.get(self._get(fh).number)

    @contextmanager
    def borrowed(self, fh: int) -> Iterator[int]:
        """A descriptor of its own for a directory that may be released meanwhile; EBADF if it was already."""
        with self._lock:
            listing = self._open.get(fh)
            descriptor = os.dup(listing.fd) if listing else -1
        if descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _get(self, fh: int) -> _Listing:
        with self._lock:
            listing = self._open.get(fh)
        if listing is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return listing

    def _looked_up(self, listing: _Listing, item: Entry) -> Told | None:
        """What to say of an entry; None if it went since. One that may be listed but not looked up (a
        directory without search permission) is named without attributes."""
        if item.name in DOTS:
            return self._named(listing, item)
        try:
            return self._names.lookup(listing.number, item.name)
        except FileNotFoundError:
            return None
        except OSError:
            return Told.bare(0, item.kind)

    def _named(self, listing: _Listing, item: Entry) -> Told:
        if item.name not in DOTS:
            return Told.bare(item.ino, item.kind)
        inode = self._inodes.get(listing.number)
        if item.name == b".." and inode.parent is not None:
            inode = inode.parent
        return Told.bare(inode.number, stat.S_IFDIR >> 12)

    def _untold(self, plus: bool, item: Entry, entry: Told) -> None:
        if plus and item.name not in DOTS and entry.number:
            self._names.forget([(entry.number, 1)])


def _unpack(data: bytes) -> Iterator[Entry]:
    """struct linux_dirent64: u64 inode, s64 position, u16 length of the whole, u8 type, name."""
    start = 0
    while start < len(data):
        ino, after, length, kind = DIRENT.unpack_from(data, start)
        name = data[start + DIRENT.size : start + length].split(b"\0", 1)[0]
        yield Entry(name, ino, after, kind)
        start += length
