"""The file a writer appends to, and its rotation. One thread uses it."""

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fusecopy.dispatch.compression import Compressor
from fusecopy.dispatch.files import BEGIN_BYTES, begin_of, names, rotated
from fusecopy.dispatch.kinds import is_record

MAX_BYTES = 10 << 20
"""A file is rotated before it would grow beyond this."""

KEEP = 20
"""Rotated files that are kept: FILE.1 (the newest), FILE.2.gz to FILE.20.gz. All are some 20 MiB."""

LEAST_BYTES = 64 << 10
"""Of a file of a log, if somebody says how many; a header has less."""

MOST_KEPT = 999
"""The most rotated files that a log may have."""

HEADER_BEGIN = b'{"type":"header"'

LEAST_BEGIN = len(b'{"type":')
"""Bytes of a header that a crash left, or a full disk: less of it may be anything."""


class Locked(NamedTuple):
    """A log's descriptor by which it is locked, and whether the file was made for it."""

    descriptor: int
    made: bool


class LogFile:
    """Appends whole lines to a file, rotates it by size, and opens it again when it was moved away.

    Whenever a file is opened the header is written first, so every file says what it is.

    Args:
        path: the file; its directory must exist.
        header: the header's line.
        max_bytes: rotate before the file grows beyond this.
        keep: rotated files to keep, 1 to MOST_KEPT. What others have rotated further stays.
        claimed: a descriptor of the file by `open_locked`, which is used first.
    """

    def __init__(
        self,
        path: Path,
        header: bytes,
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
        claimed: int = -1,
    ) -> None:
        if not 1 <= keep <= MOST_KEPT:
            raise ValueError(f"keep must be 1 to {MOST_KEPT}, not {keep}")
        self._path = path
        self._header = header
        self._max_bytes = max_bytes
        self._keep = keep
        self._moving = threading.Lock()
        self._compressor = Compressor(path, self._moving)
        self._descriptor = -1
        self._claimed = claimed
        self._identity = (0, 0)

    def open(self) -> None:
        """Open or create the file and write the header. Raises OSError as `open_locked`."""
        self.close()
        if self._claimed >= 0:
            self._descriptor, self._claimed = self._claimed, -1
        else:
            self._descriptor = open_locked(self._path).descriptor
        status = os.fstat(self._descriptor)
        self._identity = status.st_dev, status.st_ino
        # A crash or a full disk may have left half a line, which must not swallow the header.
        torn = status.st_size and os.pread(self._descriptor, 1, status.st_size - 1) != b"\n"
        lines = [b"\n", self._header] if torn else [self._header]
        if self._write(lines) < len(lines):
            raise _full(self._path)

    def append(self, lines: Sequence[bytes]) -> int:
        """Write lines, each ended by a newline: as many as the file has room for, in one write.

        Returns how many of them are whole in the file; at least one.

        Raises:
            OSError: none is; the file is closed and the next call opens it again.
        """
        fitting = self._fitting(lines, self._ready())
        if not fitting:
            self._rotate()
            fitting = self._fitting(lines, self._ready()) or 1
        return self._write(lines[:fitting])

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _ready(self) -> int:
        """Make sure that the open file is the one at the path and has its header; its size."""
        size = self._size_in_place() if self._descriptor >= 0 else 0
        if not size:
            self.open()
            size = os.fstat(self._descriptor).st_size
        return size

    def _size_in_place(self) -> int:
        """0 when the file was moved or removed (logrotate, rm) or emptied (copytruncate)."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return 0
        return status.st_size if (status.st_dev, status.st_ino) == self._identity else 0

    def _fitting(self, lines: Sequence[bytes], size: int) -> int:
        """How many of the lines a file of this size takes. One that has only its header takes any line."""
        bare = size <= len(self._header)
        for number, line in enumerate(lines):
            size += len(line)
            if size > self._max_bytes:
                return number or int(bare)
        return len(lines)

    def finish(self, timeout: float) -> None:
        """Close the file, and wait, at most so many seconds, for what was rotated to be compressed."""
        self.close()
        self._compressor.wait(timeout)

    def _rotate(self) -> None:
        with self._moving:
            for name in names(self._path, self._keep):
                name.unlink(missing_ok=True)
            for number in range(self._keep - 1, 0, -1):
                for name, further in zip(
                    names(self._path, number), names(self._path, number + 1), strict=True
                ):
                    _move(name, further)
            _move(self._path, rotated(self._path, 1))
        self.open()
        self._compressor.start()

    def _write(self, lines: Sequence[bytes]) -> int:
        """Write at least one whole line; how many are. The file is closed unless all are."""
        data = b"".join(lines)
        try:
            written = os.write(self._descriptor, data)
        except OSError:
            self.close()
            raise
        if written == len(data):
            return len(lines)
        # Only a full disk or quota cuts a write to a regular file short. The next open mends the last line.
        self.close()
        whole = data.count(b"\n", 0, written)
        if not whole:
            raise _full(self._path)
        return whole


def _full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def open_locked(path: Path) -> Locked:
    """Open or create a log, and lock it until the descriptor is closed: two servers never write one log.

    Raises:
        BlockingIOError: another server has it.
        FileExistsError: it is not a log, nor empty.
        OSError: it is no regular file, or cannot be opened or locked.
    """
    while True:
        fd, made = _opened(path)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_log(fd):
                raise FileExistsError(errno.EEXIST, "not a dispatch log", str(path))
            if b"\n" not in os.pread(fd, BEGIN_BYTES, 0):
                os.ftruncate(fd, 0)  # half a header, left by a crash or a full disk
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(status, os.stat(path)):
                    return Locked(fd, made)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # rotated away after it was opened, and unlocked for that


def _opened(path: Path) -> Locked:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        return Locked(os.open(path, flags | os.O_EXCL, 0o600), made=True)
    except FileExistsError:  # or a link to nothing, whose target is made
        return Locked(os.open(path, flags, 0o600), made=False)


def is_log(fd: int) -> bool:
    """Whether a file begins as a log does, or is empty."""
    begin = begin_of(os.pread(fd, BEGIN_BYTES, 0))
    line, newline, _ = begin.partition(b"\n")
    if not newline and len(begin) < BEGIN_BYTES:
        cut = len(begin) >= LEAST_BEGIN and begin[: len(HEADER_BEGIN)] == HEADER_BEGIN[: len(begin)]
        return cut or not begin
    return is_record(line)


def _move(source: Path, destination: Path) -> None:
    # Missing: fewer rotations so far than files to keep, or one that failed half-way.
    with contextlib.suppress(FileNotFoundError):
        os.replace(source, destination)
