"""Where a file has data and where it has holes, and how to leave a hole in another.

lseek() with SEEK_DATA moves the descriptor's own position, which nothing in this package ever uses.
"""

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from fusecopy.copying import calls


class Segment(NamedTuple):
    """A stretch of a file that is all data or all hole; bytes."""

    length: int
    hole: bool


def segments(fd: int, offset: int, length: int) -> Iterator[Segment]:
    """The range from its beginning, piece by piece; shorter than `length` where the file ends before.

    A filesystem that knows no holes gives one piece of data.
    """
    end = offset + length
    while offset < end:
        data = _seek_data(fd, offset, end)
        if data > offset:
            yield Segment(data - offset, hole=True)
        elif data < offset:
            return
        if data == end:
            return
        offset = _seek_hole(fd, data, end)
        if offset == data:
            return
        yield Segment(offset - data, hole=False)


def _seek_data(fd: int, offset: int, end: int) -> int:
    """Where data begins at or after `offset`; where none does the file's end, which may lie before it."""
    try:
        return min(os.lseek(fd, offset, os.SEEK_DATA), end)
    except OSError as error:
        if error.errno != errno.ENXIO:
            return offset
    return min(os.fstat(fd).st_size, end)


def _seek_hole(fd: int, offset: int, end: int) -> int:
    try:
        return min(os.lseek(fd, offset, os.SEEK_HOLE), end)
    except OSError as error:
        # ENXIO: the file was cut meanwhile and ends before `offset`. Else holes are not known here: all data.
        return offset if error.errno == errno.ENXIO else end


def hole_bytes(fd: int, offset: int, length: int) -> int:
    """How many bytes of the range lie in holes."""
    return sum(segment.length for segment in segments(fd, offset, length) if segment.hole)


def leave_hole(fd: int, offset: int, length: int) -> bool:
    """Make the range read as zeros without data, growing the file to its end; False where that cannot be had.

    The file grows by fallocate and not by ftruncate: between a look at the size and an ftruncate another
    writer's data beyond the range could be cut off. The block allocated for that is given back by the punch,
    unless the range ends inside it.
    """
    end = offset + length
    try:
        if os.fstat(fd).st_size < end:
            calls.extend(fd, end)
        calls.punch_hole(fd, offset, length)
    except OSError:
        # Whatever it was (no fallocate here, no space): writing the zeros works or gives the true errno.
        return False
    return True
