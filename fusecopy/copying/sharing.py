"""Which bytes of a copy lie in the extents of their source: proven by FIEMAP, or said to be unprovable."""

import os
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from fusecopy.copying import calls, filesystems
from fusecopy.copying._native import lib
from fusecopy.copying.calls import Extent
from fusecopy.copying.holes import hole_bytes
from fusecopy.copying.records import Attempt, Outcome, Path, Proof, Request, Sharing

_MOVING = frozenset({Path.SPLICE, Path.SENDFILE, Path.READWRITE})
_SHARING = frozenset({Path.REFLINK, Path.DEDUPE})

_TO_THE_END = (1 << 64) - 1


class State(str, Enum):
    """What is known of a part of a destination range."""

    SHARED = "shared"
    NOT_SHARED = "not shared"
    HOLE = "hole"
    UNPROVABLE = "unprovable"

    def __str__(self) -> str:
        return self.value


_STATES = {
    lib.FC_SHARED: State.SHARED,
    lib.FC_NOT_SHARED: State.NOT_SHARED,
    lib.FC_HOLE: State.HOLE,
    lib.FC_UNPROVABLE: State.UNPROVABLE,
}


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
    range_ = (request.source, request.offset_in, request.destination, request.offset_out, outcome.copied)
    paths = {attempt.path for attempt in outcome.attempts if attempt.carried}
    if paths and paths <= _SHARING:
        # The ioctl has written out what it shares before (generic_remap_file_range_prep, Linux 6.1 to 7.2).
        return _look(*range_, 0)
    if not paths.isdisjoint(_SHARING):
        # The kernel shared something, so they lie on one filesystem and a first look would only find it.
        return _look(*range_, lib.FIEMAP_FLAG_SYNC)
    if paths <= _MOVING:
        holes = hole_bytes(request.destination, request.offset_out, outcome.copied)
        return Sharing(0, holes, 0, Proof.WRITTEN)
    return shared_bytes(*range_)


def shared_bytes(source: int, offset_in: int, destination: int, offset_out: int, length: int) -> Sharing:
    """How much of a destination range lies in the extents of the source range, block for block.

    A clone is visible in FIEMAP at once, but extents still being written may show their old place. So
    whatever looks shared is looked at again after the kernel has written both files out (FIEMAP_FLAG_SYNC).
    """
    if not filesystems.same(source, destination):
        # Block numbers of two filesystems may be equal by chance.
        return Sharing(0, hole_bytes(destination, offset_out, length), 0, Proof.WRITTEN)
    found = _look(source, offset_in, destination, offset_out, length, 0)
    if not found.shared:
        return found
    return _look(source, offset_in, destination, offset_out, length, lib.FIEMAP_FLAG_SYNC)


def _look(source: int, offset_in: int, destination: int, offset_out: int, length: int, flags: int) -> Sharing:
    try:
        totals = calls.compare(source, offset_in, destination, offset_out, length, flags)
    except OSError as error:
        return Sharing(0, 0, length, Proof.UNPROVABLE, no_fiemap(error))
    return _by_fiemap(totals[lib.FC_SHARED], totals[lib.FC_HOLE], totals[lib.FC_UNPROVABLE])


def parts(source: int, offset_in: int, destination: int, offset_out: int, length: int) -> list[Part]:
    """The whole of a destination range, extent by extent and hole by hole, after both files were written out.

    Of a compressed extent FIEMAP tells where the whole begins, so of its bytes "shared" means that the source
    has them in the same extent.

    Raises:
        OSError: EOPNOTSUPP or ENOTTY where the destination's filesystem has no FIEMAP.
    """
    known = source if filesystems.same(source, destination) else -1
    found = calls.compared(known, offset_in, destination, offset_out, length, lib.FIEMAP_FLAG_SYNC)
    return [Part(at, count, _STATES[state], flags) for at, count, state, flags in found]


def summed(found: Iterable[Part]) -> Sharing:
    """What the parts of a range come to."""
    totals = dict.fromkeys(State, 0)
    for part in found:
        totals[part.state] += part.length
    return _by_fiemap(totals[State.SHARED], totals[State.HOLE], totals[State.UNPROVABLE])


def _by_fiemap(shared: int, holes: int, unprovable: int) -> Sharing:
    return Sharing(shared, holes, unprovable, Proof.FIEMAP, "inline in metadata" if unprovable else "")


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
