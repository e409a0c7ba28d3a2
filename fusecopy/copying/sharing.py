"""Which bytes of a copy lie in the extents of their source: proven by FIEMAP, or said to be unprovable."""

import os
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from fusecopy.copying import calls, filesystems
from fusecopy.copying._native import lib
from fusecopy.copying.calls import Extent
from fusecopy.copying.holes import hole_bytes
from fusecopy.copying.records import Attempt, Outcome, Path, Proof, Request, Sharing

_MOVING = frozenset({Path.SPLICE, Path.SENDFILE, Path.READWRITE})
_UNTOLD = lib.FIEMAP_EXTENT_DATA_INLINE | lib.FIEMAP_EXTENT_UNKNOWN
"""Flags of extents of which FIEMAP gives no place on the device."""

_TO_THE_END = (1 << 64) - 1


class State(str, Enum):
    """What is known of a part of a destination range."""

    SHARED = "shared"
    NOT_SHARED = "not shared"
    HOLE = "hole"
    UNPROVABLE = "unprovable"

    def __str__(self) -> str:
        return self.value


class Part(NamedTuple):
    """A part of a destination range that lies in one extent or hole of it.

    Attributes:
        offset: where it begins, counted from the range's beginning.
        length: bytes.
        state: what is known of it.
        flags: FIEMAP_EXTENT_* of the destination's extent; 0 for a hole.
    """

    offset: int
    length: int
    state: State
    flags: int

    @property
    def traits(self) -> list[str]:
        """What FIEMAP says of the extent, in words."""
        return [word for flag, word in _TRAITS.items() if self.flags & flag]


_TRAITS = {
    lib.FIEMAP_EXTENT_DATA_INLINE: "inline",
    lib.FIEMAP_EXTENT_UNWRITTEN: "unwritten",
    lib.FIEMAP_EXTENT_ENCODED: "encoded",
    lib.FIEMAP_EXTENT_DELALLOC: "delalloc",
    lib.FIEMAP_EXTENT_UNKNOWN: "unknown place",
}


def prove(request: Request, outcome: Outcome) -> Sharing:
    """How much of what `outcome` copied is shared now. Where only writes moved bytes no FIEMAP is asked."""
    if all(attempt.path in _MOVING for attempt in outcome.attempts if attempt.carried):
        holes = hole_bytes(request.destination, request.offset_out, outcome.copied)
        return Sharing(0, holes, 0, Proof.WRITTEN)
    return shared_bytes(
        request.source, request.offset_in, request.destination, request.offset_out, outcome.copied
    )


def shared_bytes(source: int, offset_in: int, destination: int, offset_out: int, length: int) -> Sharing:
    """How much of a destination range lies in the extents of the source range, block for block.

    A clone is visible in FIEMAP at once, but extents still being written may show their old place. So
    whatever looks shared is looked at again after the kernel has written both files out (FIEMAP_FLAG_SYNC).
    """
    if not filesystems.same(source, destination):
        # Block numbers of two filesystems may be equal by chance.
        return Sharing(0, hole_bytes(destination, offset_out, length), 0, Proof.WRITTEN)
    try:
        found = summed(_compare(source, offset_in, destination, offset_out, length, sync=False))
        if found.shared:
            found = summed(_compare(source, offset_in, destination, offset_out, length, sync=True))
    except OSError as error:
        return Sharing(0, 0, length, Proof.UNPROVABLE, no_fiemap(error))
    return found


def parts(source: int, offset_in: int, destination: int, offset_out: int, length: int) -> list[Part]:
    """The whole of a destination range, extent by extent and hole by hole, after both files were written out.

    Of a compressed extent FIEMAP tells where the whole begins, so of its bytes "shared" means that the source
    has them in the same extent.

    Raises:
        OSError: EOPNOTSUPP or ENOTTY where the destination's filesystem has no FIEMAP.
    """
    same = filesystems.same(source, destination)
    return list(_compare(source if same else None, offset_in, destination, offset_out, length, sync=True))


def summed(found: Iterable[Part]) -> Sharing:
    """What the parts of a range come to."""
    totals = dict.fromkeys(State, 0)
    for part in found:
        totals[part.state] += part.length
    unprovable = totals[State.UNPROVABLE]
    reason = "inline in metadata" if unprovable else ""
    return Sharing(totals[State.SHARED], totals[State.HOLE], unprovable, Proof.FIEMAP, reason)


def no_fiemap(error: OSError) -> str:
    """Why nothing is provable, in a few words."""
    return f"no FIEMAP: {os.strerror(error.errno or 0)}"


def rewritten(request: Request, outcome: Outcome, sharing: Sharing) -> int | None:
    """Bytes of the copy that were physically written again; None where that cannot be known.

    Args:
        sharing: what `prove` said of the same request and outcome.
    """
    total = 0
    for attempt in outcome.attempts:
        if attempt.path in _MOVING:
            total += attempt.carried - hole_bytes(request.destination, attempt.offset_out, attempt.carried)
        elif attempt.path is Path.COPY_FILE_RANGE and attempt.carried:
            part = sharing if attempt.carried == outcome.copied else _sharing_of(request, attempt)
            if part.unprovable:
                return None
            total += attempt.carried - part.shared - part.holes
    return total


def _sharing_of(request: Request, attempt: Attempt) -> Sharing:
    return shared_bytes(
        request.source, attempt.offset_in, request.destination, attempt.offset_out, attempt.carried
    )


def extents(fd: int, offset: int, length: int, sync: bool) -> list[Extent]:
    """The extents that touch a range, in order; the first and the last may reach beyond it.

    Args:
        sync: have the kernel write the file out first.

    Raises:
        OSError: EOPNOTSUPP or ENOTTY where the filesystem has no FIEMAP.
    """
    found: list[Extent] = []
    end = min(offset + length, _TO_THE_END)
    while offset < end:
        some = calls.fiemap(fd, offset, end - offset, lib.FIEMAP_FLAG_SYNC if sync else 0)
        found += some
        if len(some) < lib.EXTENTS_PER_CALL:
            break
        offset = some[-1].end
    return found


class _Piece(NamedTuple):
    """An extent or a hole clipped to a range; `start` and `end` count from the range's beginning."""

    start: int
    end: int
    physical: int
    flags: int
    hole: bool = False

    def place(self, at: int) -> int:
        """Where on the device the byte `at` lies; of an encoded (compressed) extent, where that begins."""
        return self.physical if self.flags & lib.FIEMAP_EXTENT_ENCODED else self.physical + at - self.start


def _pieces(fd: int | None, offset: int, length: int, sync: bool) -> Iterator[_Piece]:
    """All of a range in order, its holes too. Without a descriptor it is one hole."""
    at = 0
    for extent in extents(fd, offset, length, sync) if fd is not None else ():
        piece = _clip(extent, offset, length)
        if at < piece.start:
            yield _Piece(at, piece.start, 0, 0, hole=True)
        yield piece
        at = piece.end
    if at < length:
        yield _Piece(at, length, 0, 0, hole=True)


def _clip(extent: Extent, offset: int, length: int) -> _Piece:
    start = max(extent.logical - offset, 0)
    end = min(extent.end - offset, length)
    skipped = 0 if extent.flags & lib.FIEMAP_EXTENT_ENCODED else max(offset - extent.logical, 0)
    return _Piece(start, end, extent.physical + skipped, extent.flags)


def _compare(
    source: int | None, offset_in: int, destination: int, offset_out: int, length: int, sync: bool
) -> Iterator[Part]:
    """The parts of a destination range; neighbours within one extent that are alike are one part."""
    ours = list(_pieces(destination, offset_out, length, sync))
    part, of = None, None
    for start, end, one, other in _overlaps(list(_pieces(source, offset_in, length, sync)), ours):
        state = _state(start, one, other)
        if part and of is other and part.state is state:
            part = part._replace(length=end - part.offset)
            continue
        if part:
            yield part
        part, of = Part(start, end - start, state, other.flags), other
    if part:
        yield part


def _state(at: int, one: _Piece, other: _Piece) -> State:
    if other.hole:
        return State.HOLE
    either = one.flags | other.flags
    if one.hole or either & lib.FIEMAP_EXTENT_DELALLOC:
        return State.NOT_SHARED
    if either & _UNTOLD:
        return State.UNPROVABLE
    return State.SHARED if _same_place(at, one, other) else State.NOT_SHARED


def _same_place(at: int, one: _Piece, other: _Piece) -> bool:
    both = one.flags & other.flags
    alike = not (one.flags ^ other.flags) & lib.FIEMAP_EXTENT_ENCODED
    return bool(both & lib.FIEMAP_EXTENT_SHARED) and alike and one.place(at) == other.place(at)


def _overlaps(theirs: list[_Piece], ours: list[_Piece]) -> Iterator[tuple[int, int, _Piece, _Piece]]:
    """Where two lists of pieces meet: (start, end, theirs, ours), however differently they are cut."""
    i = j = 0
    while i < len(theirs) and j < len(ours):
        start, end = max(theirs[i].start, ours[j].start), min(theirs[i].end, ours[j].end)
        if start < end:
            yield start, end, theirs[i], ours[j]
        if theirs[i].end < ours[j].end:
            i += 1
        else:
            j += 1
