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

LINE_LIMIT = 16 << 20
"""No record is this long; a longer line means another kind of file, which must not fill the memory."""


class Place(NamedTuple):
    """Where a line begins: the file's identity, which a rename does not change, and the offset in it."""

    device: int
    inode: int
    offset: int


def raw_lines(
    path: Path, start: Place | None = None, stop: threading.Event | None = None
) -> Iterator[tuple[Place, bytes]]:
    """The whole lines of the log with their places, oldest first, without a last line that has no newline.

    Args:
        path: the newest file of the log.
        start: where to begin; the beginning of the oldest file where that place is gone.
        stop: with it, lines that come later follow as they come; once set, only those already there.

    Raises:
        LogError: there is no such log, it may not be read, or it is something else.
    """
    parts = deque(_open_parts(path))
    try:
        if not parts:
            raise LogError(f"{path}: there is no such dispatch log", "Name the file, or the mount point.")
        _skip_to(parts, start)
        while parts:
            yield from _placed_lines(parts[0], path)
            if len(parts) > 1:
                parts.popleft().close()
            elif stop is None:
                return
            elif later := _later_parts(path, parts[0]):
                parts.extend(later)
            elif stop.wait(WAIT_SECONDS):
                return
            else:
                _rewind_if_emptied(parts[0])
    finally:
        for part in parts:
            part.close()


def _open_parts(path: Path) -> list[BinaryIO]:
    """The log's files that exist, opened, oldest first.

    Opened newest first: a rotation renames FILE.1 to FILE.2 and so on, and this way meets a file
    twice at worst and misses none.
    """
    parts: dict[tuple[int, int], BinaryIO] = {}
    for name in [path, *(rotated(path, number) for number in range(1, MOST_KEPT + 1))]:
        try:
            part = open(name, "rb")  # noqa: SIM115 - the caller closes it
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


def _skip_to(parts: deque[BinaryIO], start: Place | None) -> None:
    if start is None or start[:2] not in map(_identity, parts):
        return
    while _identity(parts[0]) != start[:2]:
        parts.popleft().close()
    parts[0].seek(start.offset)


def _placed_lines(part: BinaryIO, path: Path) -> Iterator[tuple[Place, bytes]]:
    identity = _identity(part)
    offset = part.tell()
    while (line := part.readline(LINE_LIMIT)).endswith(b"\n"):
        yield Place(*identity, offset), line
        offset += len(line)
    if len(line) == LINE_LIMIT:
        raise LogError(
            f"{path} is not a dispatch log", "Name a file that fusecopy wrote, or the mount point."
        )
    part.seek(offset)


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
