"""Open directories: listing with attributes, positions that stay valid, sync.

Positions are the backing's own (d_off), so telldir and seekdir work as there, and an entry removed or added
while a listing goes on neither hides another nor shows one twice. Methods block, raise OSError, and may run
in any thread; the kernel lists one open directory from one thread at a time.
"""

import errno
import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.watching import LONG
from fusecopy.native import watching
from fusecopy.native.inodes import Inode
from fusecopy.serving import Directory, Listing, Opened


class _Open(NamedTuple):
    """An open directory, and what the kernel calls it."""

    directory: Directory
    number: int


class Directories:
    """Operations on open directories."""

    def __init__(self, inodes: InodeTable, cached: bool) -> None:
        """With `cached` the kernel may remember listings until it changes the directory itself."""
        self._inodes = inodes
        self._cached = cached
        self._lock = threading.Lock()
        self._handles = itertools.count(1)
        self._open: dict[int, _Open] = {}

    def opendir(self, number: int) -> Opened:
        """Open a directory."""
        with self._inodes.borrow(number) as descriptor:
            fd = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with self._lock:
            handle = next(self._handles)
            self._open[handle] = _Open(Directory(fd), number)
        cached = self._cached and watching.limit(number, LONG) == LONG
        return Opened(handle, keep_cache=cached and not watching.is_suspect(number), cache_readdir=cached)

    def readdir(self, fh: int, off: int, listing: Listing) -> None:
        """Lay out entries from position `off` on until there are no more or the listing is full.

        With `listing.plus` every entry laid out but "." and ".." counts as a look-up; one that may be listed
        but not looked up (a directory without search permission) is named without attributes. An error after
        the first entry is left to the next call, because the kernel would not see, and never forget, the
        entries of a failed one.
        """
        directory, number = self._get(fh)
        inode = self._inodes.get(number)
        above = inode.parent or inode
        directory.seek(off)
        try:
            while listing.find(directory, number, above.number):
                if listing.plus:
                    listing.enter(inode)
                listing.lay_out()
        except OSError:
            if listing.is_empty:
                raise

    def fsyncdir(self, fh: int, datasync: bool) -> None:
        """fsync(2) or fdatasync(2) of a directory."""
        if datasync:
            os.fdatasync(self.descriptor(fh))
        else:
            os.fsync(self.descriptor(fh))

    def releasedir(self, fh: int) -> None:
        """Close an open directory."""
        fd = self.descriptor(fh)
        with self._lock:
            del self._open[fh]
        os.close(fd)

    def descriptor(self, fh: int) -> int:
        """The backing descriptor of a handle."""
        return self._get(fh).directory.fd

    def inode(self, fh: int) -> Inode:
        """The directory behind a handle."""
        return self._inodes.get(self._get(fh).number)

    @contextmanager
    def borrowed(self, fh: int) -> Iterator[int]:
        """A descriptor of its own for a directory that may be released meanwhile; EBADF if it was already."""
        with self._lock:
            found = self._open.get(fh)
            descriptor = os.dup(found.directory.fd) if found else -1
        if descriptor < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _get(self, fh: int) -> _Open:
        with self._lock:
            found = self._open.get(fh)
        if found is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return found
