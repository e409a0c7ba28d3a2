"""Open files that the native layer reads and writes by itself."""

from dataclasses import dataclass

from fusecopy.native._native import ffi, lib

WRITEBACK: int = lib.FUSECOPY_WRITEBACK


@dataclass(frozen=True, slots=True)
class Client:
    """The READ and WRITE requests of one process on one open file.

    Attributes:
        pid: the calling thread as the kernel names it; 0 is a thread of a pid namespace that the mount
            cannot see, WRITEBACK the kernel writing mapped pages, -1 all clients beyond the first few.
        reads, writes: number of requests.
        read_bytes, write_bytes: bytes they asked for.
        first_ns, last_ns: CLOCK_MONOTONIC of the first and the last request.
        pipe_writes: WRITEs of 64 KiB, as the kernel's splice between two files makes them.
    """

    pid: int
    reads: int
    read_bytes: int
    writes: int
    write_bytes: int
    first_ns: int
    last_ns: int
    pipe_writes: int = 0


class NativeFile:
    """A file descriptor whose READ and WRITE requests are answered without Python.

    Give `fh` to the kernel as the file handle. The object must live, and the descriptor stay open, until the
    handle is released. The descriptor stays the caller's to close.
    """

    __slots__ = ("_file", "fd", "fh", "unseen")

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
            opener: the user id for whom mapped pages are written.
        """
        self._file = ffi.new("struct fusecopy_file *")
        self._file.fd = self.fd = fd
        self._file.device, self._file.ino = identity
        self._file.unseen = self.unseen = unseen
        self._file.asks_writer, self._file.opener = asks_writer, opener
        self._file.only_appends = only_appends
        self.fh = int(ffi.cast("uintptr_t", self._file))

    @property
    def native(self) -> "ffi.CData":
        """The struct itself."""
        return self._file

    def clients(self) -> list[Client]:
        """What each process has asked of this file so far."""
        return [_client(self._file.clients[i]) for i in range(self._file.client_count)]


def _client(c: "ffi.CData") -> Client:
    return Client(c.pid, c.reads, c.read_bytes, c.writes, c.write_bytes, c.first_ns, c.last_ns, c.pipe_writes)
