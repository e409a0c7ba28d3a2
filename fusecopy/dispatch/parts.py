"""The lines of a log that lies in several files and may be rotated while it is read. Knows no records."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from fusecopy.dispatch.files import names, numbers
from fusecopy.dispatch.part import Part, Place
from fusecopy.errors import LogError

WAIT_SECONDS = 0.1
"""How long a follower waits before it looks at the file again."""


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
        LogError: there is no such log, it may not be read, or it is damaged or something else.
    """
    parts = deque(_existing_parts(path))
    try:
        _skip_to(parts, start)
        while parts:
            while block := parts[0].whole_lines():
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
                parts[0].rewind_if_emptied()
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
            yield from part.lines_with(mark)
    finally:
        for part in parts:
            part.close()


def _existing_parts(path: Path) -> list[Part]:
    """The log's files, opened, oldest first. Raises LogError where there are none."""
    parts = _open_parts(path)
    if not parts:
        raise LogError(f"{path}: there is no such dispatch log", "Name the file, or the mount point.")
    return parts


def _open_parts(path: Path) -> list[Part]:
    """The log's files that exist, opened, oldest first.

    Opened newest first: a rotation renames FILE.1 to FILE.2 and so on, and this way meets a file
    twice at worst, once as it was and once compressed, and misses none: what moves moves ahead of us.
    """
    parts: list[Part] = []
    try:
        number = 0
        while number <= max(numbers(path), default=0):
            for part in _opened(*(names(path, number) if number else (path,))):
                for other in [other for other in parts if part.is_the_same_as(other)]:
                    parts.remove(other)
                    other.close()
                parts.append(part)
            number += 1
    except BaseException:
        for part in parts:
            part.close()
        raise
    return parts[::-1]


def _opened(*files: Path) -> list[Part]:
    """Those of the files that exist, the newer one first. Raises LogError where one cannot be read."""
    found: list[Part] = []
    for name in files:
        try:
            found.append(Part(name))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LogError(
                f"{name}: the dispatch log cannot be read: {error.strerror}",
                "Read it as the user who mounted, or as root.",
            ) from error
    return sorted(found, key=Part.changed_ns, reverse=True)


def _skip_to(parts: deque[Part], start: Place | None) -> None:
    if start is None or start[:2] not in [part.identity for part in parts]:
        return
    while parts[0].identity != start[:2]:
        parts.popleft().close()
    parts[0].skip_to(start.offset)


def _later_parts(path: Path, part: Part) -> list[Part]:
    """The files begun since `part` was the newest, oldest first."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return []  # in the middle of a rotation, or the directory is gone
    if (status.st_dev, status.st_ino) == part.identity:
        return []
    parts = _open_parts(path)
    own = [other.is_the_same_as(part) for other in parts]
    if True in own:
        first = own.index(True) + 1
    else:  # removed, or rotated out of the log: what was written after it
        ended = part.changed_ns()
        newer = [other.changed_ns() >= ended for other in parts]
        first = newer.index(True) if True in newer else len(parts)
    for other in parts[:first]:
        other.close()
    return parts[first:]
