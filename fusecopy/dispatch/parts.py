"""The lines of a log that lies in several files and may be rotated while it is read. Knows no records."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fusecopy.dispatch.logfile import MOST_KEPT, rotated
from fusecopy.errors import LogError

WAIT_SECONDS = 0.1
"""How long a follower waits before it looks at the file again."""

BLOCK_BYTES = 1 << 20
"""How much is read at once."""

LINE_LIMIT = 16 << 20
"""No record is this long; a longer line means another kind of file, which must not fill the memory."""


class Place(NamedTuple):
    """Where a line begins: the file's identity, which a rename does not change, and the offset in it."""

    device: int
    inode: int
    offset: int


def raw_blocks(
    path: Path, start: Place | None = None, stop: threading.Event | None = None
) -> Iterator[bytes]:
    """The log's whole lines, many at a time, oldest first, without a last line that has no newline.

    Args:
        path: the newest file of the log.
        start: where to begin; the beginning of the oldest file where that place is gone.
        stop: with it, lines that come later follow as they come, and an empty block says that there is
            none for now; once set, only those already there.

    Raises:
        LogError: there is no such log, it may not be read, or it is something else.
    """
    parts = deque(_existing_parts(path))
    try:
        _skip_to(parts, start)
        while parts:
            while block := _whole_lines(parts[0], path):
                yield block
            if len(parts) > 1:
                parts.popleft().close()
            elif stop is None:
                return
            elif later := _later_parts(path, parts[0]):
                parts.extend(later)
            else:
                yield b""
                if stop.wait(WAIT_SECONDS):
                    return
                _rewind_if_emptied(parts[0])
    finally:
        for part in parts:
            part.close()


def lines_with(path: Path, mark: bytes) -> Iterator[tuple[Place, bytes]]:
    """The whole lines that contain `mark`, with their places, newest first.

    Raises:
        LogError: as for `raw_blocks`.
    """
    parts = _existing_parts(path)
    try:
        for part in reversed(parts):
            yield from _part_lines_with(part, mark, path)
    finally:
        for part in parts:
            part.close()


def _existing_parts(path: Path) -> list[BinaryIO]:
    """The log's files, opened, oldest first. Raises LogError where there are none."""
    parts = _open_parts(path)
    if not parts:
        raise LogError(f"{path}: there is no such dispatch log", "Name the file, or the mount point.")
    return parts


def _open_parts(path: Path) -> list[BinaryIO]:
    """The log's files that exist, opened, oldest first.

    Opened newest first: a rotation renames FILE.1 to FILE.2 and so on, and this way meets a file
    twice at worst and misses none.
    """
    parts: dict[tuple[int, int], BinaryIO] = {}
    for name in [path, *(rotated(path, number) for number in range(1, MOST_KEPT + 1))]:
        try:
            part = open(name, "rb", opener=_opened)  # noqa: SIM115 - the caller closes it
        except FileNotFoundError:
            continue
        except OSError as error:
            for opened in parts.values():
                opened.close()
            raise LogError(
                f"{name}: the dispatch log cannot be read: {error.strerror}",
                "Read it as the user who mounted, or as root.",
            ) from error
        identity = _identity(part)
        if identity in parts:
            parts.pop(identity).close()
        parts[identity] = part
    return list(reversed(parts.values()))


def _opened(path: str, flags: int) -> int:
    """A pipe has nobody at its other end; what it and other special files give is no log."""
    return os.open(path, flags | os.O_NONBLOCK)


def _skip_to(parts: deque[BinaryIO], start: Place | None) -> None:
    if start is None or start[:2] not in map(_identity, parts):
        return
    while _identity(parts[0]) != start[:2]:
        parts.popleft().close()
    parts[0].seek(start.offset)


def _whole_lines(part: BinaryIO, path: Path) -> bytes:
    """The next lines that are whole; nothing where there are none yet."""
    begin = part.tell()
    block = part.read(BLOCK_BYTES)
    while not (end := block.rfind(b"\n") + 1) and (more := part.read(BLOCK_BYTES)):
        block += more
        _check_length(len(block), path)
    part.seek(begin + end)
    return block[:end]


def _part_lines_with(part: BinaryIO, mark: bytes, path: Path) -> Iterator[tuple[Place, bytes]]:
    identity = _identity(part)
    end = os.fstat(part.fileno()).st_size
    tail = b""  # the end of a line whose beginning was not read yet
    while end > 0:
        begin = max(0, end - BLOCK_BYTES)
        block = os.pread(part.fileno(), end - begin, begin)
        if tail:
            block += tail
        cut = block.find(b"\n") + 1 if begin else 0
        if cut or not begin:
            for at, line in _marked(block[cut:], mark):
                yield Place(*identity, begin + cut + at), line
            tail = block[:cut]
        else:
            tail = block
            _check_length(len(tail), path)
        end = begin


def _marked(block: bytes, mark: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and text of the block's ended lines that contain `mark`, last first."""
    begin = len(block)
    while (at := block.rfind(mark, 0, begin)) >= 0:
        begin = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at) + 1
        if end:
            yield begin, block[begin:end]


def _check_length(length: int, path: Path) -> None:
    """Raises LogError for what is longer than any record."""
    if length > LINE_LIMIT:
        raise LogError(
            f"{path} is not a dispatch log", "Name a file that fusecopy wrote, or the mount point."
        )


def _rewind_if_emptied(part: BinaryIO) -> None:
    """Begin again in a file that was emptied in place, as logrotate's copytruncate does."""
    if os.fstat(part.fileno()).st_size < part.tell():
        part.seek(0)


def _later_parts(path: Path, part: BinaryIO) -> list[BinaryIO]:
    """The files begun since `part` was the newest, oldest first."""
    identity = _identity(part)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return []  # in the middle of a rotation, or the directory is gone
    if (status.st_dev, status.st_ino) == identity:
        return []
    parts = _open_parts(path)
    places = [_identity(other) for other in parts]
    if identity in places:
        first = places.index(identity) + 1
    else:  # removed, or rotated out of the log: what was written after it
        ended = os.fstat(part.fileno()).st_mtime_ns
        newer = [os.fstat(other.fileno()).st_mtime_ns >= ended for other in parts]
        first = newer.index(True) if True in newer else len(parts)
    for other in parts[:first]:
        other.close()
    return parts[first:]


def _identity(part: BinaryIO) -> tuple[int, int]:
    status = os.fstat(part.fileno())
    return status.st_dev, status.st_ino
