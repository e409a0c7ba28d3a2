"""Which reads the writes of a process came from. A pair is claimed only with evidence, else there is none.

Candidates are what the same process, or one of its process group, has read in the same time, in at least as
many bytes. That much is chance often enough: databases, archivers and sorters read one thing and write as
much of another. What decides is what both files hold.
"""

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from fusecopy.copying import contents
from fusecopy.copying.contents import Evidence
from fusecopy.native.drivers import Named
from fusecopy.native.files import Moved
from fusecopy.reporting.flows import MountFile, Side

READAHEAD = 2 << 20
"""Bytes by which a program and the kernel may have read more than was written, but no more than that."""

LEAST_READAHEAD = 256 << 10
"""Bytes that the kernel reads ahead in any case."""

WINDOW = 64 << 10
"""Bytes from the first read on in which what was written may begin."""

NEARBY_NS = 1_000_000_000
"""How long before the first write the last read may have been."""

LEAST = contents.NEEDLE
"""A part of a file that is shorter may be found in any other."""

REMEMBERED = 256
"""Reads of files closed already that a later close of their copy may still be paired with."""

CANDIDATES = 16
"""So many are looked at, the likeliest first."""


Open = Callable[[MountFile], AbstractContextManager[int]]
"""Opens a file of the mount for reading. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process has read of one open file.

    Attributes:
        file: which.
        path: relative to the mount, as it was then.
        sparse: it has fewer blocks than its size needs.
        only_read: it was opened for nothing else.
        side: who has read how much.
    """

    file: MountFile
    path: bytes
    sparse: bool
    only_read: bool
    side: Side


class Span(NamedTuple):
    """A range of the source that came to be in the destination; None where that is not known."""

    off_in: int | None
    off_out: int | None
    length: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A source found for writes.

    Attributes:
        source: its path, absolute where it is not in this mount.
        device: st_dev of a source that is not in this mount, else None.
        reads: what was read of it through this server for this copy.
        sparse: it has fewer blocks than its size needs.
        by: how it was found: by "process", "group" or the system "call".
        evidence: what shows it.
        span: where the bytes were and are.
    """

    source: bytes
    device: int | None
    reads: Moved
    sparse: bool
    by: str
    evidence: Evidence
    span: Span


class Writing(NamedTuple):
    """Writes that a source is looked for.

    Attributes:
        side: who has written how much.
        file: the destination.
        descriptor: it, open for reading.
    """

    side: Side
    file: MountFile
    descriptor: int


class Readings:
    """Reads of files that are closed by now, and what was told of all. Not locked."""

    def __init__(self) -> None:
        self._closed: deque[Reading] = deque(maxlen=REMEMBERED)
        self._told: OrderedDict[tuple[int, int, int], None] = OrderedDict()

    def closed(self, readings: Iterable[Reading]) -> None:
        """Remember what was read of a file that is being closed."""
        self._closed.extend(readings)

    def candidates(self, writing: Writing, still_open: Iterable[Reading]) -> list[tuple[Reading, str]]:
        """What the writes may come from, the likeliest first, and by what each was found.

        Of files that hold the same, the one of the same name is the likeliest, as cp -r, tar and rsync keep
        names; then the one read last before.
        """
        name = _basename(writing.file.path())
        found = []
        for reading in (*self._closed, *still_open):
            by = _relation(reading.side, writing.side)
            if by and reading.file != writing.file:
                rank = (by == "process", _basename(reading.path) == name, reading.side.moved.first_ns)
                found.append((rank, reading, by))
        found.sort(key=lambda item: item[0], reverse=True)
        return [(reading, by) for _, reading, by in found[:CANDIDATES]]

    def of(self, file: MountFile, process: int, still_open: Iterable[Reading]) -> Reading | None:
        """What a process has read of a file, most recently."""
        readings = [
            reading
            for reading in (*self._closed, *still_open)
            if reading.file == file and reading.side.caller.pid == process
        ]
        return max(readings, key=lambda reading: reading.side.moved.last_ns, default=None)

    def tell(self, reading: Reading) -> Moved:
        """The requests of reads that are about to be told as part of a copy; none where they were before."""
        moved = reading.side.moved
        key = (reading.file.number, reading.side.caller.pid, moved.first_ns)
        if key in self._told:
            return Moved()
        self._told[key] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return moved


def _basename(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]


def _relation(reader: Side, writer: Side) -> str:
    """What ties reads to writes; nothing where they cannot belong together."""
    read, wrote = reader.moved, writer.moved
    # What a program writes twice, as databases do, it need not have read twice.
    enough = 0 < min(wrote.bytes, writer.size) <= read.bytes
    if not enough or not read.first_ns <= wrote.first_ns <= read.last_ns + NEARBY_NS:
        return ""
    if reader.caller.pid == writer.caller.pid:
        return "process" if writer.caller.pid else ""
    return "group" if 0 != reader.caller.group == writer.caller.group else ""


def shown(reading: Reading, writing: Writing, opened: Open) -> tuple[Span, Evidence] | None:
    """What both files show of a copy from the one to the other; None where they show none."""
    with suppress(OSError), opened(reading.file) as source:
        if found := _whole(source, reading.side.size, writing, reading.only_read):
            return found
        if _may_be_part(reading.side, writing.side):
            return _part(source, reading.side.moved, writing)
    return None


def called(source: int, read: Moved, writing: Writing) -> tuple[Span, Evidence] | None:
    """The same of a source that the system call named; nothing may have been read of what the kernel knew.

    Raises:
        OSError: it cannot be read, so nothing is shown.
    """
    return _whole(source, os.fstat(source).st_size, writing, True) or _part(source, read, writing)


def unseen(named: Named, writing: Writing) -> tuple[Span, Evidence] | None:
    """What a system call shows by itself, of a source that cannot be read here: that all was written by it,
    and no more than the source has."""
    moved = writing.side.moved
    if not writing.side.is_seen or not 0 < moved.bytes <= named.size:
        return None
    whole = moved.bytes == named.size == moved.high - moved.low
    return Span(0 if whole else None, _begin(moved), moved.bytes), Evidence.CALL


def _whole(source: int, size: int, writing: Writing, poor: bool) -> tuple[Span, Evidence] | None:
    """Two files that are alike, however much of the destination had to be written for it.

    Files that hold little are alike by chance, so of them (`poor`) it takes more than that: databases open
    what they read for writing, too.
    """
    if not 0 < size == writing.side.size:
        return None
    evidence = contents.compare(source, 0, writing.descriptor, 0, size, poor)
    return (Span(0, 0, min(writing.side.moved.bytes, size)), evidence) if evidence else None


def _may_be_part(reader: Side, writer: Side) -> bool:
    """A program that copies a part reads it a little further than it writes; after an error, however far."""
    surplus = reader.moved.bytes - writer.moved.bytes
    ahead = max(LEAST_READAHEAD, min(READAHEAD, reader.moved.bytes // 2))
    return writer.moved.error != 0 or surplus <= ahead


def _part(source: int, read: Moved, writing: Writing) -> tuple[Span, Evidence] | None:
    moved = writing.side.moved
    begin = _begin(moved)
    if begin is None or moved.bytes < LEAST:
        return None
    found = contents.find(source, read.low, WINDOW, writing.descriptor, begin, moved.bytes)
    return (Span(found[0], begin, moved.bytes), found[1]) if found else None


def _begin(moved: Moved) -> int | None:
    """Where one range begins that was written once; None where it was several."""
    return moved.low if moved.bytes == moved.high - moved.low else None
