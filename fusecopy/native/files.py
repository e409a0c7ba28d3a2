"""Open files that the native layer reads and writes by itself."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusecopy.native._native import ffi, lib

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
    """A file descriptor whose READ and WRITE requests are answered without Python.

    Give `fh` to the kernel as the file handle. The object must live, and the descriptor stay open, until the
    handle is released. The descriptor stays the caller's to close.
    """

    __slots__ = ("_file", "fd", "fh", "opener", "unseen")

    def __init__(
        self,
        fd: int,
        identity: tuple[int, int] = (0, 0),
        unseen: bool = False,
        asks_writer: bool = False,
        only_appends: bool = False,
        opener: int = 0,
    ) -> None:
        """Serve `fd`.

        Args:
            identity: st_dev and st_ino in the backing, the same for every open of one file.
            unseen: the kernel reads and writes it by itself.
            asks_writer: the backing has room that it gives by the writer's user id.
            only_appends: the descriptor is opened with O_APPEND, because the file is append-only.
            opener: the user id that opened it, for whom mapped pages are written.
        """
        self._file = ffi.gc(ffi.new("struct fusecopy_file *"), lib.fusecopy_forget_clients)
        self._file.fd = self.fd = fd
        self._file.device, self._file.ino = identity
        self._file.unseen = self.unseen = unseen
        self._file.asks_writer = asks_writer
        self._file.opener = self.opener = opener
        self._file.only_appends = only_appends
        self.fh = int(ffi.cast("uintptr_t", self._file))

    @property
    def native(self) -> "FusecopyFile":
        """The struct itself."""
        return self._file

    def tell_others(self) -> None:
        """What is told when it is closed may name files that were neither read nor are its own: changes of
        names wait for that."""
        self._file.tells_others = True

    @property
    def is_written(self) -> bool:
        """Whether there was any WRITE request."""
        return bool(self._file.is_written)

    def clients(self) -> list[Client]:
        """What each thread has asked of this file and was not taken."""
        if not self._file.client_count:  # a number that only grows while requests may come
            return []
        room, count = 0, lib.fusecopy_clients(self._file, ffi.NULL, 0)
        while count > room:
            room = 2 * count
            found = ffi.new("struct fusecopy_client[]", room)
            count = lib.fusecopy_clients(self._file, found, room)
        return (
            [Client(c.pid, c.uid, _moved(c.read), _moved(c.written)) for c in found[0:count]] if count else []
        )

    def written_by(self, pid: int) -> int:
        """Bytes that a thread has written and that were not taken."""
        return int(lib.fusecopy_written_by(self._file, pid))

    def take_read(self, pid: int) -> Moved:
        """What a thread has read since this was last asked."""
        return self._take(pid, writes=False)

    def take_written(self, pid: int) -> Moved:
        """What a thread has written since this was last asked."""
        return self._take(pid, writes=True)

    def forget(self, pid: int) -> None:
        """A thread will ask for nothing more."""
        lib.fusecopy_forget_client(self._file, pid)

    def _take(self, pid: int, writes: bool) -> Moved:
        taken = ffi.new("struct fusecopy_moved *")
        lib.fusecopy_take_moved(self._file, pid, writes, taken)
        return _moved(taken)


def note_source(device: int, ino: int, number: int) -> None:
    """A file of that identity in the backing, and that number in the mount, is read without READs of it:
    changes of its names wait for reports of what was written, which may have come from it."""
    lib.fusecopy_note_source(device, ino, number)


def _moved(m: "FusecopyMoved") -> Moved:
    return Moved(m.requests, m.bytes, m.low, m.high, m.first_ns, m.last_ns, m.pipe_requests, m.error)
