"""What a log amounts to for a report: sums of many kinds, in a memory that does not grow with the log."""

import heapq
import itertools
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from fusecopy.dispatch.records import Copy, Header, Record
from fusecopy.dispatch.summary import Summary

K = TypeVar("K")

MOMENTS = 2000
"""Points of the timeline that are kept at most; with more, each covers a longer time."""

PREFIXES = (19, 18, 16, 15, 13, 10, 7, 4)
"""Characters of an RFC 3339 time that name its second, ten seconds, minute, ten minutes, hour, day, month
and year."""

DIRECTORIES = 5000
"""Directories that are kept at most; with more, each stands for its parent."""

CAUSES = 200
"""Causes that are told apart at most."""

LISTED = 1000
"""Copies that are listed one by one: all, or those that took longest."""

NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class Sum:
    """Some copies: how many, their bytes, time in microseconds."""

    copies: int = 0
    bytes: int = 0
    duration_us: int = 0

    def add(self, copy: Copy) -> None:
        """Count one more; of a copy that copied nothing, what it was asked for."""
        self.copies += 1
        self.bytes += copy.copied or copy.length
        self.duration_us += copy.duration_us


@dataclass(slots=True)
class Cause(Sum):
    """Copies that were no reflinks, or not wholly, for one cause.

    Attributes:
        dispatch, errno, cause, remedy: of the first of them; numbers in the others' cause may differ.
        file: the first one's destination.
    """

    dispatch: str = ""
    errno: str = ""
    cause: str = ""
    remedy: str = ""
    file: str = ""


@dataclass(slots=True)
class Digest:
    """The sums of one or more logs.

    Attributes:
        mounts: the headers, in order, each once.
        summary: by dispatch and path, and by program.
        moments: by time and dispatch; of a time's text the PREFIXES[coarseness] first characters.
        sizes: by dispatch and by bits of the size: copies of 4096 to 8191 bytes have 13; without
            refused ones.
        directories: by the destination's directory, or the one above it that is `depth` deep.
        causes: why copies were no reflinks.
        listed: the copies that took longest, a heap by duration and `numbers`.
        first, last: time of the first and the last copy; empty without any.
    """

    mounts: list[Header] = field(default_factory=list)
    summary: Summary = field(default_factory=Summary)
    moments: defaultdict[tuple[str, str], Sum] = field(default_factory=lambda: defaultdict(Sum))
    coarseness: int = 0
    sizes: defaultdict[tuple[str, int], Sum] = field(default_factory=lambda: defaultdict(Sum))
    directories: defaultdict[str, Sum] = field(default_factory=lambda: defaultdict(Sum))
    depth: int = sys.maxsize
    causes: dict[tuple[str, str, str], Cause] = field(default_factory=dict)
    listed: list[tuple[int, int, Copy]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    first: str = ""
    last: str = ""

    def add_all(self, records: list[Record]) -> None:
        """Count records."""
        self.summary.add_all(records)
        copies = [record for record in records if type(record) is Copy]
        for record in records:
            if isinstance(record, Header) and record not in self.mounts[-1:]:
                self.mounts.append(record)
        if copies:
            self._add_times(copies)
            moved = [copy for copy in copies if copy.copied]
            _add(self.sizes, ((copy.dispatch, (copy.copied or 0).bit_length()) for copy in moved), moved)
            self._add_directories(copies)
            self._add_causes(copies)
            self._list(copies)

    def _add_times(self, copies: list[Copy]) -> None:
        times = [copy.time for copy in copies]
        self.first = min(self.first or times[0], min(times))
        self.last = max(self.last, max(times))
        length = PREFIXES[self.coarseness]
        _add(self.moments, ((copy.time[:length], copy.dispatch) for copy in copies), copies)
        while len(self.moments) > MOMENTS and self.coarseness < len(PREFIXES) - 1:
            self.coarseness += 1
            self.moments = _regrouped(self.moments, self._coarser)

    def _coarser(self, key: tuple[str, str]) -> tuple[str, str]:
        return key[0][: PREFIXES[self.coarseness]], key[1]

    def _add_directories(self, copies: list[Copy]) -> None:
        _add(self.directories, (_directory(copy.dst, self.depth) for copy in copies), copies)
        while len(self.directories) > DIRECTORIES and self.depth:
            self.depth = max(name.count("/") for name in self.directories)
            self.directories = _regrouped(self.directories, lambda name: _above(name, self.depth))

    def _add_causes(self, copies: list[Copy]) -> None:
        for copy in copies:
            if not copy.cause or (copy.dispatch == "dispatched" and not copy.rewritten):
                continue
            key = (copy.dispatch, copy.errno or "", NUMBER.sub("", copy.cause))
            if key not in self.causes and len(self.causes) >= CAUSES:
                key = (copy.dispatch, "", "")
            cause = self.causes.get(key)
            if cause is None:
                cause = self.causes[key] = Cause(dispatch=copy.dispatch, file=copy.dst)
                if key[2]:
                    cause.errno, cause.cause, cause.remedy = key[1], copy.cause, copy.remedy or ""
            cause.add(copy)

    def _list(self, copies: list[Copy]) -> None:
        listed = self.listed
        for copy in copies:
            if len(listed) < LISTED:
                heapq.heappush(listed, (copy.duration_us, next(self.numbers), copy))
            elif copy.duration_us > listed[0][0]:
                heapq.heapreplace(listed, (copy.duration_us, next(self.numbers), copy))


def _add(sums: defaultdict[K, Sum], keys: Iterable[K], copies: list[Copy]) -> None:
    for key, copy in zip(keys, copies, strict=True):
        sums[key].add(copy)


def _regrouped(sums: dict[K, Sum], regroup: Callable[[K], K]) -> defaultdict[K, Sum]:
    """The same in larger groups."""
    larger: defaultdict[K, Sum] = defaultdict(Sum)
    for key, one in sums.items():
        into = larger[regroup(key)]
        into.copies += one.copies
        into.bytes += one.bytes
        into.duration_us += one.duration_us
    return larger


def _directory(name: str, depth: int) -> str:
    """The directory of a file, or the one above it that is so deep."""
    directory = name.rpartition("/")[0]
    return _above(directory, depth) if directory.count("/") >= depth else directory


def _above(directory: str, depth: int) -> str:
    return "/".join(directory.split("/")[:depth])
