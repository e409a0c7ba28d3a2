"""Open files that the native layer reads and writes by itself."""

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusecopy.native._native import ffi, lib
from fusecopy.native.callers import Thread
from fusecopy.native.inodes import Inode

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyFile, FusecopyMoved

WRITEBACK: int = lib.FUSECOPY_WRITEBACK


@dataclass(frozen=True, slots=True)
class Moved:
    """READ or WRITE requests, all of one kind.

    Attributes:
        requests: how many.
        bytes: what was read or written; what failed moved nothing.
        low, high: the range of the file that these lie in; equal where there are none.
        first_ns, last_ns: CLOCK_MONOTONIC of the first request and of the last answer.
        pipe_requests: those of 16 pages, as the kernel's splice between two files makes them.
        error: errno of the last request, 0 where it succeeded.
    """

    requests: int = 0
    bytes: int = 0
    low: int = 0
    high: int = 0
    first_ns: int = 0
    last_ns: int = 0
    pipe_requests: int = 0
    error: int = 0

    def joined(self, other: "Moved") -> "Moved":
        """Both as one: of two threads of the same process."""
        if not (self.requests and other.requests):
            return self if self.requests else other
        ranges = [moved for moved in (self, other) if moved.bytes]
        return Moved(
            self.requests + other.requests,
            self.bytes + other.bytes,
            min((moved.low for moved in ranges), default=0),
            max((moved.high for moved in ranges), default=0),
            min(self.first_ns, other.first_ns),
            max(self.last_ns, other.last_ns),
            self.pipe_requests + other.pipe_requests,
            max(self, other, key=lambda moved: moved.last_ns).error,
        )


@dataclass(frozen=True, slots=True)
class Client:
    """The READ and WRITE requests of one thread on one open file.

    Attributes:
        pid: the calling thread as the kernel names it; 0 is a thread of a pid namespace that the mount
            cannot see, WRITEBACK the kernel writing mapped pages.
        uid: the user of its last request.
    """

    pid: int
    uid: int
    read: Moved
    written: Moved


class NativeFile:
    """An open file, whose READ and WRITE requests are answered without Python. Its descriptor stays open
    until it is taken out, and then is whoever's took it.

    Attributes:
        native: the same in C.
        fd: the backing's descriptor, with the access mode that the program asked for.
        fh: what the kernel returns with each request.
        unseen: the kernel reads and writes it by itself.
        uid: the user id that opened it, for whom mapped pages are written.
        thread: the thread that opened it.
        opened_ns: when, by CLOCK_MONOTONIC.
        writable: it was opened to write.
    """

    __slots__ = ("native",)

    def __init__(self, held: "FusecopyFile") -> None:
        """From a struct fusecopy_file *, whose hold becomes this object's."""
        self.native = ffi.gc(held, lib.fusecopy_release_file)

    @property
    def fd(self) -> int:
        return self.native.fd

    @property
    def fh(self) -> int:
        return int(ffi.cast("uintptr_t", self.native))

    @property
    def unseen(self) -> bool:
        return bool(self.native.unseen)

    @unseen.setter
    def unseen(self, unseen: bool) -> None:
        self.native.unseen = unseen

    @property
    def uid(self) -> int:
        return self.native.uid

    @property
    def thread(self) -> int:
        return self.native.thread

    @property
    def opened_ns(self) -> int:
        return self.native.opened_ns

    @property
    def writable(self) -> bool:
        return bool(self.native.is_writable)

    @property
    def is_open(self) -> bool:
        """Whether its handle is still the kernel's."""
        return bool(self.native.is_open)

    @property
    def inode(self) -> Inode:
        """Which file it is."""
        return Inode(lib.fusecopy_hold(self.native.inode))

    @property
    def asker(self) -> tuple[Thread, list[bytes]] | None:
        """Who opened it to write, and the command line as it was then, where that may ask for a reflink."""
        asker = self.native.asker
        if not asker:
            return None
        return Thread.of(asker.caller), ffi.unpack(asker.words, asker.words_size).split(b"\0")

    def take_out(self) -> bool:
        """It is released: its descriptor is the caller's. False where it was already."""
        return bool(lib.fusecopy_take_out_file(self.native))

    @property
    def is_written(self) -> bool:
        """Whether there was any WRITE request."""
        return bool(self.native.is_written)

    def clients(self) -> list[Client]:
        """What each thread has asked of this file and was not taken."""
        if not self.native.client_count:  # a number that only grows while requests may come
            return []
        room, count = 0, lib.fusecopy_clients(self.native, ffi.NULL, 0)
        while count > room:
            room = 2 * count
            found = ffi.new("struct fusecopy_client[]", room)
            count = lib.fusecopy_clients(self.native, found, room)
        return (
            [Client(c.pid, c.uid, _moved(c.read), _moved(c.written)) for c in found[0:count]] if count else []
        )

    def written_by(self, pid: int) -> int:
        """Bytes that a thread has written and that were not taken."""
        return int(lib.fusecopy_written_by(self.native, pid))

    def take_read(self, pid: int) -> Moved:
        """What a thread has read since this was last asked."""
        return self._take(pid, writes=False)

    def take_written(self, pid: int) -> Moved:
        """What a thread has written since this was last asked."""
        return self._take(pid, writes=True)

    def forget(self, pid: int) -> None:
        """A thread will ask for nothing more."""
        lib.fusecopy_forget_client(self.native, pid)

    def _take(self, pid: int, writes: bool) -> Moved:
        taken = ffi.new("struct fusecopy_moved *")
        lib.fusecopy_take_moved(self.native, pid, writes, taken)
        return _moved(taken)


def note_source(device: int, ino: int, number: int) -> None:
    """A file of that identity in the backing, and that number in the mount, is read without READs of it:
    changes of its names wait for reports of what was written, which may have come from it."""
    lib.fusecopy_note_source(device, ino, number)


def opened(fd: int, inode: Inode, flags: int, uid: int, thread: int) -> NativeFile:
    """Note a file that a thread opened with these flags (open(2)). Raises OSError without memory for it."""
    file = lib.fusecopy_opened(fd, inode.native, flags, uid, thread)
    if not file:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    return NativeFile(lib.fusecopy_hold_file(file))


def of_handle(fh: int) -> NativeFile:
    """The open file of a handle that the kernel has returned."""
    return NativeFile(lib.fusecopy_hold_file(ffi.cast("struct fusecopy_file *", fh)))


def count() -> int:
    """How many there are."""
    return lib.fusecopy_all_files(ffi.NULL, 0)


def every() -> list[NativeFile]:
    """All open files."""
    number, room = count() + 1, 0
    while number > room:
        room = 2 * number
        found = ffi.new("struct fusecopy_file *[]", room)
        number = lib.fusecopy_all_files(found, room)
        files = [NativeFile(found[n]) for n in range(min(number, room))]
    return files


def _moved(m: "FusecopyMoved") -> Moved:
    return Moved(m.requests, m.bytes, m.low, m.high, m.first_ns, m.last_ns, m.pipe_requests, m.error)
