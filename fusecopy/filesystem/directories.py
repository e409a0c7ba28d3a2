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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyfuse3

from fusecopy.filesystem import kernel
from fusecopy.filesystem.inodes import Inode, InodeTable
from fusecopy.filesystem.names import Names

Emit = Callable[[bytes, pyfuse3.EntryAttributes, int], bool]
"""Offer an entry with the position after it; False when the reply is full."""

BUFFER = 32768
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

    def __init__(self, inodes: InodeTable, names: Names) -> None:
        self._inodes = inodes
        self._names = names
        self._lock = threading.Lock()
        self._handles = itertools.count(1)
        self._open: dict[int, _Listing] = {}

    def opendir(self, number: int) -> int:
        """Open a directory and return its handle."""
        with self._inodes.borrow(number) as descriptor:
            fd = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with self._lock:
            handle = next(self._handles)
            self._open[handle] = _Listing(fd, number)
        return handle

    def readdir(self, fh: int, off: int, emit: Emit) -> None:
        """Offer entries from position `off` on until there are no more or the reply is full.

        Every entry taken but "." and ".." counts as a look-up. An error after the first is left to the next
        call, because the kernel would not see, and never forget, the entries of a failed one.
        """
        listing = self._get(fh)
        taken = 0
        try:
            for item in listing.entries(off):
                attributes = self._attributes(listing, item)
                if attributes is not None and not emit(item.name, attributes, item.after):
                    self._untold(item, attributes)
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

    def _attributes(self, listing: _Listing, item: Entry) -> pyfuse3.EntryAttributes | None:
        """What to say of an entry; None if it went since. One that may be listed but not looked up (a
        directory without search permission) is named without attributes."""
        if item.name in (b".", b".."):
            return self._dot(listing, item)
        try:
            return self._names.lookup(listing.number, item.name)
        except FileNotFoundError:
            return None
        except OSError:
            return _bare(0, item.kind)

    def _dot(self, listing: _Listing, item: Entry) -> pyfuse3.EntryAttributes:
        inode = self._inodes.get(listing.number)
        if item.name == b".." and inode.parent is not None:
            inode = inode.parent
        return _bare(inode.number, stat.S_IFDIR >> 12)

    def _untold(self, item: Entry, attributes: pyfuse3.EntryAttributes) -> None:
        if item.name not in (b".", b"..") and attributes.st_ino:
            for descriptor in self._names.forget([(attributes.st_ino, 1)]):
                os.close(descriptor)


def _bare(number: int, kind: int) -> pyfuse3.EntryAttributes:
    attributes = pyfuse3.EntryAttributes()
    attributes.st_ino = number
    attributes.st_mode = kind << 12
    attributes.entry_timeout = attributes.attr_timeout = 0
    return attributes


def _unpack(data: bytes) -> Iterator[Entry]:
    """struct linux_dirent64: u64 inode, s64 position, u16 length of the whole, u8 type, name."""
    start = 0
    while start < len(data):
        ino, after, length, kind = DIRENT.unpack_from(data, start)
        name = data[start + DIRENT.size : start + length].split(b"\0", 1)[0]
        yield Entry(name, ino, after, kind)
        start += length
