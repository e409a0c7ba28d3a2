"""Files in a mount to try things with, and copies of them by the bare system call."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from fusecopy.copying.calls import resident_bytes

PREFIX = ".fusecopy-check-"
CALLS = 100_000
"""The most that one copy may take, so that a server which copies a byte at a time is not waited for."""


class Scratch:
    """A directory of ours in the mount."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._random = random.Random(0)

    def path(self, name: str) -> Path:
        """Of a file that need not be there."""
        return self._directory / name

    def file(self, name: str, size: int) -> Path:
        """A file of bytes that nothing else has."""
        return self.write(name, self._random.randbytes(size))

    def write(self, name: str, data: bytes) -> Path:
        """A file of these bytes, with the server."""
        path = self.path(name)
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            with suppress(OSError):  # not every server has it
                os.fsync(file.fileno())
        return path


@contextmanager
def scratch(mount: Path) -> Iterator[Scratch]:
    """A new directory, gone at the end. Raises OSError where it cannot be made."""
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=mount))
    try:
        yield Scratch(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """A descriptor."""
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def copy_once(source: Path, destination: Path, length: int, offset_in: int = 0, offset_out: int = 0) -> int:
    """What one copy_file_range(2) returns. Raises OSError."""
    with opened(source) as reading, opened(destination, os.O_WRONLY | os.O_CREAT) as writing:
        return os.copy_file_range(reading, writing, length, offset_in, offset_out)


class Moved(NamedTuple):
    """A whole file copied.

    Attributes:
        counts: what each call returned, with the 0 at the source's end.
        offloaded: the server copied. False: the kernel moved the bytes, for which it has read the source into
            its page cache; None: the cache does not tell.
    """

    counts: list[int]
    offloaded: bool | None


def copy_all(source: Path, destination: Path) -> Moved:
    """Copy a whole file by as many calls as it takes. Raises OSError.

    The source's pages are looked at by the descriptor that was open before: to open a file of FUSE again may
    drop them.
    """
    with opened(source) as reading, opened(destination, os.O_WRONLY | os.O_CREAT) as writing:
        dropped = cached_bytes(reading, drop=True) == 0
        return Moved(call_copies(reading, writing), by_server(reading, dropped))


def call_copies(reading: int, writing: int) -> list[int]:
    """Call copy_file_range(2) until it returns 0. Raises OSError."""
    counts: list[int] = []
    while not counts or (counts[-1] and len(counts) < CALLS):
        counts.append(os.copy_file_range(reading, writing, max(1, os.fstat(reading).st_size)))
    return counts


def by_server(reading: int, dropped: bool) -> bool | None:
    """Whether a copy was made without the source's pages, which were `dropped` before; see Moved."""
    if not dropped:
        return None
    if cached_bytes(reading):
        return False
    os.pread(reading, 1, 0)
    return True if cached_bytes(reading) else None


def cached_bytes(fd: int, drop: bool = False) -> int | None:
    """How much is in the page cache; None where that cannot be asked, as of files that are not cached."""
    if drop:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    try:
        return resident_bytes(fd)
    except OSError:
        return None
