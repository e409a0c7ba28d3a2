"""What came of a copy: by the extents of both files, and by their contents where these do not tell."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from fusecopy.copying import comparison
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import Part, no_fiemap, parts, shared_bytes, summed, total
from fusecopy.copying.sharing import State as PartState
from fusecopy.errors import FusecopyError
from fusecopy.expecting.files import Opener
from fusecopy.expecting.following import Following, Pair, Read, Written
from fusecopy.expecting.records import CLONES, OFFLOADS, READ_WRITE, Copy, State
from fusecopy.expecting.results import Results

CHUNK = 1 << 20
END_BYTES = 1 << 16

FEW_BYTES = 128
"""That smaller files are alike is no evidence of a copy."""


class _Source(NamedTuple):
    """A file that was opened for reading."""

    path: str
    read: Read


class _Range(NamedTuple):
    """A range of a destination, and where in the source its bytes are from."""

    offset_in: int
    offset_out: int
    length: int


def at_once(pair: Pair) -> Copy | None:
    """The copy, if it is wholly shared already; None if that is not to be seen, and is to be looked at later.

    Whatever is shared was copied so: there is no other way to come by it. Files of a FUSE mount have no
    extents.
    """
    with suppress(OSError):
        source = os.open(f"/proc/self/fd/{pair.source.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            destination = os.open(
                f"/proc/self/fd/{pair.destination.fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            )
            try:
                return _shared(pair, source, destination)
            finally:
                os.close(destination)
        finally:
            os.close(source)
    return None


def _shared(pair: Pair, source: int, destination: int) -> Copy | None:
    ranges = _ranges(pair, source, destination)
    length = sum(range_.length for range_ in ranges)
    if not length:
        return None
    found = total(shared_bytes(source, r.offset_in, destination, r.offset_out, r.length) for r in ranges)
    if found.shared != length:
        return None
    return _copy(pair, State.SHARED, ranges, found)


def afterwards(pair: Pair, opener: Opener, results: Results) -> Copy | None:
    """The copy as it is in the end. None where there was nothing to copy."""
    try:
        with opener(pair.source.fd) as source, opener(pair.destination.fd) as destination:
            return _judged(pair, source, destination, results)
    except OSError as error:
        return _unknown(pair, os.strerror(error.errno or 0))
    except FusecopyError as error:
        return _unknown(pair, error.message)


def _judged(pair: Pair, source: int, destination: int, results: Results) -> Copy | None:
    ranges = _ranges(pair, source, destination)
    length = sum(range_.length for range_ in ranges)
    if not length:
        nothing = os.fstat(source).st_size > 0
        return _copy(pair, State.NOTHING, [], Sharing(0, 0, 0, Proof.WRITTEN)) if nothing else None
    sharings = []
    equal = True
    for range_ in ranges:
        found, sharing = _parts(source, destination, range_)
        sharings.append(sharing)
        equal = equal and all(_equal(source, destination, range_, part) for part in found)
    sharing = total(sharings)
    if not equal:
        state = State.CHANGED
    elif sharing.unprovable:
        state = State.UNPROVABLE
    else:
        state = State.SHARED if sharing.shared + sharing.holes == length else State.REWRITTEN
    copy = _copy(pair, state, ranges, sharing)
    return replace(copy, made_by=_maker(pair, copy, results))


def by_reading(
    written: Iterable[Written], following: Following, opener: Opener
) -> Iterator[tuple[Written, Copy]]:
    """The files that are, byte for byte, what another is that was opened for reading before they were
    complete: before their last change, and the end of the process that wrote them."""
    changed = [one for one in written if os.fstat(one.file.fd).st_ctime_ns >= following.begun]
    sizes = {size for one in changed if (size := os.fstat(one.file.fd).st_size) >= FEW_BYTES}
    sources = _by_ends(following.read, sizes, opener)
    for one in changed:
        with suppress(OSError, FusecopyError):
            end = following.exits.get(one.process, sys.maxsize)
            candidates = [
                source for source in sources.get(_ends(one.file.fd, opener), []) if source.read.number < end
            ]
            found = _source_of(one, candidates, opener)
            if found is not None:
                yield one, found


_Ends = tuple[int, bytes]
"""A file's size and a digest of its first and last bytes: of many of one size few are alike there."""


def _ends(fd: int, opener: Opener) -> _Ends:
    with opener(fd) as file:
        size = os.fstat(file).st_size
        digest = blake2b(os.pread(file, END_BYTES, 0))
        digest.update(os.pread(file, END_BYTES, max(0, size - END_BYTES)))
        return size, digest.digest()


def _by_ends(read: dict[str, Read], sizes: set[int], opener: Opener) -> dict[_Ends, list[_Source]]:
    found: dict[_Ends, list[_Source]] = {}
    for path, how in read.items():
        with suppress(OSError, FusecopyError):
            if os.stat(path).st_size not in sizes:
                continue
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    found.setdefault(_ends(fd, opener), []).append(_Source(path, how))
            finally:
                os.close(fd)
    return found


def _source_of(written: Written, candidates: list[_Source], opener: Opener) -> Copy | None:
    """The copy of the candidate that is alike; of several the one that the same thread has opened."""
    file = written.file
    found = os.fstat(file.fd)
    before = [source for source in candidates if source.read.first <= found.st_ctime_ns]
    for path, _ in sorted(before, key=lambda source: written.thread not in source.read.threads):
        with suppress(OSError, FusecopyError):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                if os.path.samestat(os.fstat(fd), found):
                    continue
                with opener(fd) as source, opener(file.fd) as destination:
                    compared = comparison.compare_files(source, destination, b"")
            finally:
                os.close(fd)
            if compared.state in _STATES and compared.sharing:
                return _made(
                    written.program, written.process, path, file.path, (), READ_WRITE,
                    _STATES[compared.state], found.st_size, compared.sharing,
                )  # fmt: skip
    return None


_STATES = {
    comparison.State.SHARED: State.SHARED,
    comparison.State.REWRITTEN: State.REWRITTEN,
    comparison.State.UNPROVABLE: State.UNPROVABLE,
}


def _ranges(pair: Pair, source: int, destination: int) -> list[_Range]:
    """What was asked for, as far as both files reach now."""
    source_size, size = os.fstat(source).st_size, os.fstat(destination).st_size
    found = []
    for delta, (begin, end) in pair.ranges.items():
        length = min(end, size, source_size - delta) - begin
        if length > 0:
            found.append(_Range(begin + delta, begin, length))
    return found


def _parts(source: int, destination: int, range_: _Range) -> tuple[list[Part], Sharing]:
    try:
        found = parts(source, range_.offset_in, destination, range_.offset_out, range_.length)
    except OSError as error:
        whole = [Part(0, range_.length, PartState.UNPROVABLE, 0)]
        return whole, Sharing(0, 0, range_.length, Proof.UNPROVABLE, no_fiemap(error))
    return found, summed(found)


def _equal(source: int, destination: int, range_: _Range, part: Part) -> bool:
    if part.state is PartState.SHARED:
        return True
    for at in range(part.offset, part.offset + part.length, CHUNK):
        count = min(CHUNK, part.offset + part.length - at)
        if os.pread(source, count, range_.offset_in + at) != os.pread(
            destination, count, range_.offset_out + at
        ):
            return False
    return True


def _maker(pair: Pair, copy: Copy, results: Results) -> str | None:
    """Which call made a copy by what the calls returned; where that is not known, by what is there."""
    returned = [(name, results.of(call)) for name, call in pair.made]
    if copy.state in (State.CHANGED, State.NOTHING) or any(result is None for _, result in returned):
        return copy.made_by
    moved = [name for name, result in returned if (result and result > 0) or (name in CLONES and result == 0)]
    if moved:
        return moved[-1]
    return READ_WRITE if copy.state is State.REWRITTEN else copy.made_by


def _made_by(pair: Pair, state: State, sharing: Sharing, end: int) -> str | None:
    """Which call made a copy, as far as that can be told from what was called and what is there.

    Only an offload shares. A clone that was asked for, and after which nothing is shared, has been refused:
    then the program went on by reading and writing, which is not noted. Of a copy_file_range it is known that
    it has moved bytes where the next one began behind them.
    """
    last = pair.calls[-1]
    if state in (State.CHANGED, State.NOTHING):
        return None
    if sharing.shared:
        return last if last in OFFLOADS else None
    if last in CLONES:
        return READ_WRITE if state is State.REWRITTEN else None
    return last if pair.reached >= end else None


def _copy(pair: Pair, state: State, ranges: list[_Range], sharing: Sharing) -> Copy:
    end = max((range_.offset_out + range_.length for range_ in ranges), default=0)
    return _made(
        pair.program,
        pair.process,
        pair.source.path,
        pair.destination.path,
        tuple(pair.calls),
        _made_by(pair, state, sharing, end),
        state,
        sum(range_.length for range_ in ranges),
        sharing,
    )


def _made(
    program: str,
    process: int,
    source: str,
    destination: str,
    asked: tuple[str, ...],
    made_by: str | None,
    state: State,
    size: int,
    sharing: Sharing,
) -> Copy:
    return Copy(
        program,
        process,
        source,
        destination,
        asked,
        made_by,
        state,
        size,
        sharing.shared,
        size - sharing.shared - sharing.holes - sharing.unprovable,
        sharing.unprovable,
        sharing.holes,
        sharing.reason,
    )


def _unknown(pair: Pair, reason: str) -> Copy:
    size = os.fstat(pair.destination.fd).st_size
    sharing = Sharing(0, 0, size, Proof.UNPROVABLE, reason)
    return _copy(pair, State.UNPROVABLE, [_Range(0, 0, size)], sharing)


def outside(copy: Copy, directories: Iterable[Path]) -> bool:
    """Whether a copy was made to none of the directories; where none are named, everything counts."""
    named = list(directories)
    return bool(named) and not any(Path(copy.destination).is_relative_to(directory) for directory in named)
