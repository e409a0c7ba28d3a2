"""Which bytes of a copy lie in the extents of their source: proven by FIEMAP, or said to be unprovable."""

import errno
import os
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from fusecopy.copying import calls, filesystems
from fusecopy.copying._native import lib
from fusecopy.copying.calls import Extent
from fusecopy.copying.holes import hole_bytes
from fusecopy.copying.records import Attempt, CopyPath, Outcome, Proof, Request, Sharing

_MOVING = frozenset({CopyPath.SPLICE, CopyPath.SENDFILE, CopyPath.READWRITE})
_SHARING = frozenset({CopyPath.REFLINK, CopyPath.DEDUPE})

_WEAKEST_FIRST = (Proof.CHANGED, Proof.UNPROVABLE, Proof.FIEMAP, Proof.WRITTEN)

_TO_THE_END = (1 << 64) - 1

NO_PLACES = "the filesystem does not say where on its device files lie"
INLINE = "inline in metadata"
ENCODED = "in one compressed extent; FIEMAP does not say which of its bytes"
"""Why bytes are unprovable."""


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
    return total([_proof(request, attempt) for attempt in outcome.attempts if attempt.carried])


def _proof(request: Request, attempt: Attempt) -> Sharing:
    """The same of what one attempt carried."""
    if attempt.path in _MOVING:
        return _written(request.destination, attempt.offset_out, attempt.carried)
    range_ = (request.source, attempt.offset_in, request.destination, attempt.offset_out, attempt.carried)
    if attempt.path in _SHARING:
        # The ioctl has written out what it shares before (generic_remap_file_range_prep, Linux 6.1 to 7.2).
        return _look(*range_, 0, equal=True)
    return shared_bytes(*range_, equal=True)


def total(found: Iterable[Sharing]) -> Sharing:
    """What several proofs come to; as a whole it is as good as the weakest."""
    parts = list(found)
    if len(parts) == 1:
        return parts[0]
    return Sharing(
        sum(part.shared for part in parts),
        sum(part.holes for part in parts),
        sum(part.unprovable for part in parts),
        next((proof for proof in _WEAKEST_FIRST for part in parts if part.proof is proof), Proof.WRITTEN),
        next((part.reason for part in parts if part.reason), ""),
    )


def rewritten(copied: int, sharing: Sharing) -> int | None:
    """Bytes of a copy that were physically written again: those that lie neither in the source's extents nor
    in holes. None where some are unprovable.

    Args:
        sharing: what is known of all the `copied` bytes.
    """
    return None if sharing.unprovable else copied - sharing.shared - sharing.holes


def shared_bytes(
    source: int, offset_in: int, destination: int, offset_out: int, length: int, *, equal: bool = False
) -> Sharing:
    """How much of a destination range lies in the extents of the source range, block for block.

    A clone is visible in FIEMAP at once, but extents still being written may show their old place. So
    whatever looks shared is looked at again after the kernel has written both files out (FIEMAP_FLAG_SYNC).

    Args:
        equal: the bytes are known to be equal, as the one range was copied to the other just now. Else those
            that lie in one compressed extent are unprovable.
    """
    if not filesystems.same(source, destination):
        if not apart(source, destination):
            return _nothing_known(length, NO_PLACES)
        return _written(destination, offset_out, length)
    range_ = (source, offset_in, destination, offset_out, length)
    found = _look(*range_, 0, equal=equal)
    if length == found.unprovable or not found.shared + found.unprovable:
        return found
    return _look(*range_, lib.FIEMAP_FLAG_SYNC, equal=equal)


def apart(source: int, destination: int) -> bool:
    """Whether two files are known to lie on two filesystems that share nothing: else the one may be stacked
    on the other, or both come from one server. Block numbers of two filesystems may be equal by chance."""
    own = calls.has_own_storage(source) and calls.has_own_storage(destination)
    return own and not filesystems.same(source, destination)


def _written(destination: int, offset: int, length: int) -> Sharing:
    return Sharing(0, hole_bytes(destination, offset, length), 0, Proof.WRITTEN)


def _nothing_known(length: int, reason: str) -> Sharing:
    return Sharing(0, 0, length, Proof.UNPROVABLE, reason)


def _look(
    source: int, offset_in: int, destination: int, offset_out: int, length: int, flags: int, *, equal: bool
) -> Sharing:
    try:
        totals = calls.compare(source, offset_in, destination, offset_out, length, flags, equal)
    except OSError as error:
        return _nothing_known(length, no_fiemap(error))
    unprovable = totals[lib.FC_UNPROVABLE] + totals[lib.FC_ENCODED]
    reason = _reason(destination, totals[lib.FC_ENCODED]) if unprovable else ""
    proof = Proof.UNPROVABLE if reason == NO_PLACES else Proof.FIEMAP
    return Sharing(totals[lib.FC_SHARED], totals[lib.FC_HOLE], unprovable, proof, reason)


def _reason(destination: int, encoded: int) -> str:
    """Why bytes are unprovable although FIEMAP answers."""
    if not calls.gives_places(destination):
        return NO_PLACES
    return ENCODED if encoded else INLINE


def parts(source: int, offset_in: int, destination: int, offset_out: int, length: int) -> list[Part]:
    """The whole of a destination range, extent by extent and hole by hole, after both files were written out.

    Of a compressed extent FIEMAP tells where the whole begins, so bytes in one are shared if they are equal
    too, for which they are read.

    Args:
        source, destination: open for reading.

    Raises:
        OSError: FIEMAP failed, or bytes cannot be read.
    """
    known = -1 if apart(source, destination) else source
    found = calls.compared(known, offset_in, destination, offset_out, length, lib.FIEMAP_FLAG_SYNC)
    made: list[Part] = []
    for at, count, state, flags in found:
        if state == lib.FC_ENCODED:
            made += _read(source, offset_in, destination, offset_out, Part(at, count, State.SHARED, flags))
        else:
            made.append(Part(at, count, _STATES[state], flags))
    return made


def _read(source: int, offset_in: int, destination: int, offset_out: int, part: Part) -> list[Part]:
    """A part that lies in one compressed extent (128 KiB at most), neighbouring blocks alike as one: shared
    where the bytes are equal."""
    one = os.pread(source, part.length, offset_in + part.offset)
    other = os.pread(destination, part.length, offset_out + part.offset)
    if len(one) != part.length or len(other) != part.length:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    if one == other:
        return [part]
    found: list[Part] = []
    block = calls.block_size(destination)
    at = 0
    while at < part.length:
        end = min(at + block - (offset_out + part.offset + at) % block, part.length)
        state = State.SHARED if one[at:end] == other[at:end] else State.NOT_SHARED
        if found and found[-1].state is state:
            found[-1] = found[-1]._replace(length=found[-1].length + end - at)
        else:
            found.append(Part(part.offset + at, end - at, state, part.flags))
        at = end
    return found


def summed(found: Iterable[Part]) -> Sharing:
    """What the parts of a range come to."""
    totals = dict.fromkeys(State, 0)
    untold = False
    for part in found:
        totals[part.state] += part.length
        untold = untold or (part.state is State.UNPROVABLE and not part.flags)
    unprovable = totals[State.UNPROVABLE]
    reason = "" if not unprovable else NO_PLACES if untold else INLINE
    proof = Proof.UNPROVABLE if untold else Proof.FIEMAP
    return Sharing(totals[State.SHARED], totals[State.HOLE], unprovable, proof, reason)


def no_fiemap(error: OSError) -> str:
    """Why nothing is provable, in a few words."""
    return f"no FIEMAP: {os.strerror(error.errno or 0)}"


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
