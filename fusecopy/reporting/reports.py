"""Turns what happened to copies into records of the dispatch log, and remembers the last one of each file."""

import errno
import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from fusecopy.copying.calls import FileId
from fusecopy.dispatch.lines import Lines
from fusecopy.dispatch.records import (
    Copy,
    Flow,
    Lost,
    Note,
    Record,
    Tree,
    timestamp,
    timestamps,
)
from fusecopy.dispatch.renames import told_at
from fusecopy.native.files import Moved
from fusecopy.reporting import outcomes
from fusecopy.reporting.clonerecords import Told
from fusecopy.reporting.flows import Carried, Declined, Side
from fusecopy.reporting.kernelrefusals import RefusedByKernel
from fusecopy.reporting.pairing import Pair
from fusecopy.reporting.undispatched import Undispatched

log = logging.getLogger(__name__)

REMEMBERED = 4096
"""Files whose last copy `user.fusecopy.copy` still tells."""


class Destination(Protocol):
    """A file of the backing that something was copied into."""

    @property
    def file(self) -> FileId:
        """Which file it is."""

    def path(self) -> bytes:
        """Its path, relative to the mount's root."""


class Reporter:
    """Makes records and hands them to `put`, which must not block."""

    def __init__(self, put: Callable[[Record | Lines], None], undispatched: Undispatched) -> None:
        self._put = put
        self._undispatched = undispatched
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._last: dict[tuple[int, int], tuple[int, Copy | bytes]] = {}

    @contextmanager
    def counting_loss(self, count: int = 1) -> Iterator[None]:
        """Whatever raises while a record, or so many, are made costs those and no other: they count as lost,
        with the reason."""
        try:
            yield
        except Exception as error:
            log.exception("a record was lost")
            self._put(Lost(timestamp(), count, f"{type(error).__name__}: {error}"))

    def last_copy(self, file: FileId, path: bytes) -> bytes | None:
        """The record of the last copy into a file, by the name that it has now, as one line of JSON."""
        with self._lock:
            generation, last = self._last.get((file.device, file.ino), (0, None))
        return told_at(last, path).rstrip() if last and generation == file.generation else None

    def forget(self, device: int, ino: int) -> None:
        """A file has no name any more: nobody asks for its last copy."""
        with self._lock:
            self._last.pop((device, ino), None)

    def carried(self, copy: Carried, destination: Destination) -> None:
        """Report a copy that the server carried or refused."""
        self._report(outcomes.carried(copy, destination.path()), destination)

    def cloned(self, clones: Sequence[Told]) -> None:
        """Report what was cloned whole, in this order."""
        times = timestamps(clone.range.ended_ns for clone in clones)
        lines = []
        with self._lock:
            for clone, time in zip(clones, times, strict=True):
                line = clone.lines.line(next(self._numbers), time, clone.names, clone.range)
                lines.append(line)
                if clone.file:
                    self._remember(clone.file, line)
            by_path = itertools.groupby(zip(clones, lines, strict=True), key=lambda pair: pair[0].lines.path)
            for path, pairs in by_path:
                self._put(_lines_of(path, list(pairs)))

    def fallback(self, declined: Declined, destination: Destination, wrote: Moved, unseen: bool) -> None:
        """Report a copy that the server declined and the kernel, if there were writes, moved; `unseen` where
        it writes the destination by itself."""
        seq = self._report(outcomes.fallback(declined, destination.path(), wrote, unseen), destination)
        if declined.errno == errno.ENOSYS:
            self._undispatched.no_copies(seq)

    def moved(self, pair: Pair, writer: Side, destination: Destination) -> None:
        """Report a copy that reached the server as READs and WRITEs, without a copy request."""
        self._report(outcomes.moved(pair, writer, destination.path(), self._undispatched), destination)

    def refused(self, refused: RefusedByKernel, destination: Destination) -> None:
        """Report an ioctl that the kernel has refused without asking."""
        self._report(outcomes.refused(refused, destination.path()), destination, remembered=refused.is_copy)

    def note(self, text: str) -> None:
        """Say something about the log itself."""
        self._put(Note(timestamp(), text))

    def flow(self, writer: Side, destination: Destination) -> None:
        """Report writes for which no source was found."""
        self._number(outcomes.flow(writer, destination.path()))

    def tree(self, record: Callable[..., Tree]) -> None:
        """Report a tree, after the copies of its files; `record` wants but its number."""
        self._number(record)

    def _number(self, record: Callable[..., Flow | Tree]) -> None:
        with self._lock:
            self._put(record(seq=next(self._numbers)))

    def _report(self, record: Callable[..., Copy], destination: Destination, remembered: bool = True) -> int:
        with self._lock:
            copy = record(seq=next(self._numbers))
            self._put(copy)
            with suppress(OSError):  # a backing that has lost the file does not tell which it was
                if remembered:
                    self._remember(destination.file, copy)
        return copy.seq

    def _remember(self, file: FileId, record: Copy | bytes) -> None:
        key = file.device, file.ino
        self._last.pop(key, None)
        self._last[key] = file.generation, record
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]


def _lines_of(path: str, cloned: Sequence[tuple[Told, bytes]]) -> Lines:
    """Copies that one path carried, with their lines, for the log."""
    ranges = [clone.range for clone, _ in cloned]
    return Lines(
        [line for _, line in cloned],
        path,
        copied=sum(range_.copied for range_ in ranges),
        shared=sum(range_.shared for range_ in ranges if not range_.unprovable),
        rewritten=sum(range_.rewritten for range_ in ranges),
        durations_us=[(range_.ended_ns - range_.begun_ns) // 1000 for range_ in ranges],
    )
