"""Files and trees compared: by their extents, and by their contents where extents do not tell.

Blocking; reads contents only of what is not shared.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from typing import NamedTuple

from fusecopy.copying.holes import segments
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import Part, no_fiemap, parts, shared_bytes, summed
from fusecopy.copying.sharing import State as PartState

CHUNK = 1 << 20
"""Bytes that are read of each file at once."""


class State(str, Enum):
    """What a file of the second tree is to that of the first."""

    SHARED = "shared"
    """Equal, and every byte that occupies storage is shared."""
    REWRITTEN = "rewritten"
    """Equal, but some bytes occupy storage of their own."""
    UNPROVABLE = "unprovable"
    """Equal, and of some bytes it cannot be known whether they are shared."""
    DIFFERENT = "different"
    """Of another type, size or content."""
    SAME = "same file"
    """Another name (hard link) of the same file."""
    MISSING = "missing"
    """In the first tree only."""
    EXTRA = "extra"
    """In the second tree only."""
    UNREADABLE = "unreadable"
    """It could not be looked at."""

    def __str__(self) -> str:
        return self.value


class Compared(NamedTuple):
    """One file of the second tree.

    Attributes:
        path: below the trees' roots.
        state: what it is to the file of that path in the first tree.
        size: of the file, in bytes.
        sharing: what is known of its bytes; None where it was not looked at.
        reason: an error's words, of what is unreadable.
    """

    path: bytes
    state: State
    size: int = 0
    sharing: Sharing | None = None
    reason: str = ""

    @property
    def rewritten(self) -> int:
        """Bytes that occupy storage and are known not to be shared."""
        if self.sharing is None:
            return 0
        return self.size - self.sharing.shared - self.sharing.holes - self.sharing.unprovable


def compare_files(source: int, destination: int, path: bytes) -> Compared:
    """Compare two regular files, open for reading, byte for byte at the same offsets. Raises OSError."""
    one, other = os.fstat(source), os.fstat(destination)
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return Compared(path, State.SAME, other.st_size)
    size = other.st_size
    sharing = shared_bytes(source, 0, destination, 0, size)
    if sharing.shared == size == one.st_size:
        return Compared(path, State.SHARED, size, sharing)
    found, sharing = _parts(source, destination, size)
    if one.st_size != size or not all(_equal(source, destination, part) for part in found):
        return Compared(path, State.DIFFERENT, size, sharing)
    if sharing.unprovable:
        return Compared(path, State.UNPROVABLE, size, sharing)
    whole = sharing.shared + sharing.holes == size
    return Compared(path, State.SHARED if whole else State.REWRITTEN, size, sharing)


def compare_trees(source: int, destination: int) -> Iterator[Compared]:
    """Compare two directories, open for reading: everything in them but directories that both have.

    Nothing is said of symbolic links and special files that are alike. Of a file with several names only the
    first pair that is met. Symbolic links are not followed.
    """
    levels = [_Level(b"", source, destination)]
    met: set[tuple[int, int, int, int]] = set()
    try:
        while levels:
            level = levels[-1]
            name = next(level.names, None)
            if name is None:
                levels.pop().close()
                continue
            compared = _compare_entry(level, name, met)
            if isinstance(compared, _Level):
                levels.append(compared)
            elif compared is not None:
                yield compared
    finally:
        for level in levels:
            level.close()


class _Level:
    """Two directories of the same path, -1 for a missing one, and the names not dealt with yet."""

    def __init__(self, path: bytes, source: int, destination: int) -> None:
        self.path = path
        self.source = source
        self.destination = destination
        names = {name for fd in (source, destination) if fd >= 0 for name in os.listdir(fd)}
        self.names = iter(sorted(names))

    def close(self) -> None:
        """Close what was opened below the trees' roots."""
        if self.path:
            _close(self.source, self.destination)


def _compare_entry(
    level: _Level, name: str, met: set[tuple[int, int, int, int]]
) -> "Compared | _Level | None":
    path = level.path + os.fsencode(name)
    try:
        one, other = _look(level.source, name), _look(level.destination, name)
        if one is None and other is None:
            return None  # removed meanwhile
        kinds = {stat.S_IFMT(found.st_mode) for found in (one, other) if found is not None}
        if kinds == {stat.S_IFDIR}:
            return _Level(path + b"/", *_open_both(level, name, one, other, os.O_DIRECTORY))
        if one is None or other is None:
            state, left = (State.MISSING, one) if other is None else (State.EXTRA, other)
            return Compared(path, state, left.st_size if left else 0)
        if len(kinds) > 1:
            return Compared(path, State.DIFFERENT, other.st_size)
        if kinds != {stat.S_IFREG}:
            return None if _alike(level, name, one, other) else Compared(path, State.DIFFERENT, other.st_size)
        key = one.st_dev, one.st_ino, other.st_dev, other.st_ino
        if other.st_nlink > 1:
            if key in met:
                return None
            met.add(key)
        source, destination = _open_both(level, name, one, other, os.O_NONBLOCK)
        try:
            return compare_files(source, destination, path)
        finally:
            _close(source, destination)
    except OSError as error:
        return Compared(path, State.UNREADABLE, reason=os.strerror(error.errno or 0))


def _look(directory: int, name: str) -> os.stat_result | None:
    if directory < 0:
        return None
    with suppress(FileNotFoundError):
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    return None


def _open_both(
    level: _Level, name: str, one: os.stat_result | None, other: os.stat_result | None, flags: int
) -> tuple[int, int]:
    """Descriptors of those that are there, -1 for the other."""
    flags |= os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    source = os.open(name, flags, dir_fd=level.source) if one else -1
    try:
        return source, os.open(name, flags, dir_fd=level.destination) if other else -1
    except OSError:
        _close(source)
        raise


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        if fd >= 0:
            os.close(fd)


def _alike(level: _Level, name: str, one: os.stat_result, other: os.stat_result) -> bool:
    """Whether two symbolic links or special files of one type are alike."""
    if stat.S_ISLNK(one.st_mode):
        return os.readlink(name, dir_fd=level.source) == os.readlink(name, dir_fd=level.destination)
    return one.st_rdev == other.st_rdev


def _parts(source: int, destination: int, size: int) -> tuple[list[Part], Sharing]:
    """The whole file part by part; one part of which nothing is known where there is no FIEMAP."""
    try:
        found = parts(source, 0, destination, 0, size)
    except OSError as error:
        whole = [Part(0, size, PartState.UNPROVABLE, 0)]
        return whole, Sharing(0, 0, size, Proof.UNPROVABLE, no_fiemap(error))
    return found, summed(found)


def _equal(source: int, destination: int, part: Part) -> bool:
    """Whether both files have the same bytes there. What is shared is; a hole reads as zeros."""
    if part.state is PartState.SHARED:
        return True
    if part.state is PartState.HOLE:
        return all(hole or _zeros(source, at, length) for at, length, hole in _data(source, part))
    return all(
        os.pread(source, count, at) == os.pread(destination, count, at)
        for at, count in _chunks(part.offset, part.length)
    )


def _data(fd: int, part: Part) -> Iterator[tuple[int, int, bool]]:
    at = part.offset
    for segment in segments(fd, part.offset, part.length):
        yield at, segment.length, segment.hole
        at += segment.length


def _zeros(fd: int, offset: int, length: int) -> bool:
    return not any(os.pread(fd, count, at).strip(b"\0") for at, count in _chunks(offset, length))


def _chunks(offset: int, length: int) -> Iterator[tuple[int, int]]:
    end = offset + length
    for at in range(offset, end, CHUNK):
        yield at, min(CHUNK, end - at)
