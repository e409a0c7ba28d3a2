"""From calls to copies: which files were copied to which, and which may have been by reading and writing.

A copy is looked at as soon as its thread does something else, because later its files may be others or gone;
what is wholly shared then is settled. All else waits for the command's end, when contents are compared, too.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from fusecopy.clone.noting import Kind, Noted
from fusecopy.expecting.files import Held, Identity, held
from fusecopy.expecting.results import Call, Results

NAMES = {
    Kind.FICLONE: "FICLONE",
    Kind.FICLONERANGE: "FICLONERANGE",
    Kind.COPY_FILE_RANGE: "copy_file_range",
    Kind.SENDFILE: "sendfile",
    Kind.SPLICE: "splice",
}

LOOK_SECONDS = 1.0

MOST_RENAMES = 100_000
"""That are remembered."""

MOST_CALLS = 10_000
"""Of one pair, whose results are looked at."""

REALTIME_COARSE = 5
"""CLOCK_REALTIME_COARSE (linux/time.h), which files' times are taken from."""


@dataclass(slots=True)
class Pair:
    """Two files, the one copied to the other by one or more calls.

    Attributes:
        calls: names, in order of their first use.
        ranges: by offset_in - offset_out, the destination's range that was asked for: beginning and end.
        made: each call, by name and by what its result is known.
        reached: how far in the destination the last kind of call had come when it was made again. What asks
            for a copy from there on has made the one before.
    """

    program: str
    process: int
    source: Held
    destination: Held
    calls: list[str] = field(default_factory=list)
    ranges: dict[int, tuple[int, int]] = field(default_factory=dict)
    made: list[tuple[str, Call]] = field(default_factory=list)
    reached: int = 0

    def add(self, name: str, call: Call, offset_in: int, offset_out: int, length: int) -> None:
        """Another call."""
        if len(self.made) < MOST_CALLS:
            self.made.append((name, call))
        if self.calls[-1:] == [name]:
            self.reached = max(self.reached, offset_out)
        else:
            self.calls = [*(other for other in self.calls if other != name), name]
            self.reached = 0
        begin, end = self.ranges.get(offset_in - offset_out, (offset_out, 0))
        self.ranges[offset_in - offset_out] = min(begin, offset_out), max(end, offset_out + length)

    def close(self) -> None:
        self.source.close()
        self.destination.close()


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was opened for reading.

    Attributes:
        first: when for the first time, in nanoseconds of the clock by which files have their times.
        number: of all that was noted, which it was.
    """

    first: int
    number: int
    threads: set[int]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was opened for writing."""

    program: str
    process: int
    thread: int
    file: Held


@dataclass(slots=True)
class _Opened:
    """A name that was given to an open for writing, which may not be over."""

    noted: Noted
    path: str


class Following:
    """Takes what is noted, one after the other.

    Attributes:
        read: files that were opened for reading, by name.
        renames: by old name, the new ones that were asked for.
        exits: of all that was noted, which was the end of a process.
        lost: files that were opened for writing and were gone before they could be held.

    Args:
        settled: looks at a pair once its thread has gone on; true if nothing about it can change any more.
        most: pairs and written files that may be held.
        too_many: settles a pair for good, because there are more.
        results: told of each copying call.
    """

    def __init__(
        self,
        settled: Callable[[Pair], bool],
        most: int,
        too_many: Callable[[Pair], None],
        results: Results,
    ) -> None:
        self.read: dict[str, Read] = {}
        self.renames: dict[str, list[str]] = {}
        self.exits: dict[int, int] = {}
        self.lost = 0
        self._count = 0
        self.begun = time.clock_gettime_ns(REALTIME_COARSE)
        self._settled = settled
        self._most = most
        self._too_many = too_many
        self._results = results
        self._pairs: dict[tuple[Identity, Identity], Pair] = {}
        self._of_thread: dict[int, Pair] = {}
        self._opened: dict[int, list[_Opened]] = {}
        self._missing: list[_Opened] = []
        self._written: dict[Identity, Written] = {}
        self._pipes: dict[Identity, tuple[Held, int]] = {}
        self._next_look = 0.0

    def take(self, noted: Noted) -> None:
        """A call begins; what its thread called before is over."""
        self._count += 1
        if noted.kind is Kind.RENAME:
            self._rename(noted.path, noted.other)
        self._hold_opened(noted.thread)
        pair = self._copy(noted) if noted.kind in NAMES else None
        before = self._of_thread.get(noted.thread)
        if pair is not before:
            self._leave(noted.thread)
            if pair:
                self._of_thread[noted.thread] = pair
        if noted.kind is Kind.OPEN:
            self._open(noted)
        elif noted.kind is Kind.EXIT:
            self.exits[noted.process] = self._count

    def idle(self) -> None:
        """Nothing was called for a while: files may be held and looked at without being in the way."""
        for thread in list(self._opened):
            self._hold_opened(thread, over=False)

    def unlinked(self) -> Iterator[Pair]:
        """Pairs whose destination has no name any more, to be judged and closed: to hold it takes its room.
        Written files without names are given up. Looks once a second."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        busy = set(map(id, self._of_thread.values()))
        for key, pair in list(self._pairs.items()):
            if id(pair) not in busy and not os.fstat(pair.destination.fd).st_nlink:
                yield self._pairs.pop(key)
        for identity, written in list(self._written.items()):
            if not os.fstat(written.file.fd).st_nlink:
                self._written.pop(identity).file.close()
                self.lost += 1

    def release(self) -> Iterator[Pair]:
        """All pairs that are left, to be judged and closed; nothing but names is kept of them."""
        for thread in list(self._of_thread):
            self._leave(thread)
        for thread in list(self._opened):
            self._hold_opened(thread)
        self.lost += len(self._missing)
        self._missing.clear()
        pairs, self._pairs = self._pairs, {}
        for source, _ in self._pipes.values():
            source.close()
        self._pipes.clear()
        yield from pairs.values()

    def written(self) -> Iterator[Written]:
        """The files that were opened for writing, to be judged and closed."""
        written, self._written = self._written, {}
        yield from written.values()

    def _open(self, noted: Noted) -> None:
        if noted.writes:
            self.exits.pop(noted.process, None)  # a new process of that number
            self._opened.setdefault(noted.thread, []).append(_Opened(noted, noted.path))
        else:
            read = self.read.setdefault(noted.path, Read(noted.time, self._count, set()))
            read.threads.add(noted.thread)

    def _rename(self, old: str, new: str) -> None:
        """A name may be another by the time that its file is to be held, and is, where this comes late."""
        if len(self.renames) < MOST_RENAMES:
            self.renames.setdefault(old, []).append(new)
        for opened in self._missing:
            self._opened.setdefault(opened.noted.thread, []).append(opened)
        self._missing.clear()
        for opened in (opened for some in self._opened.values() for opened in some):
            if opened.path == old or opened.path.startswith(f"{old}/"):
                opened.path = new + opened.path.removeprefix(old)

    def _hold_opened(self, thread: int, *, over: bool = True) -> None:
        """Hold the files that a thread has opened for writing. What is not there although the open is `over`
        was never there, is lost, or a rename that is still to be told has given it another name."""
        left = []
        for opened in self._opened.pop(thread, ()):
            # The old name first: where it is gone the rename is over, and the new one there.
            for path in dict.fromkeys((opened.noted.path, opened.path)):
                with suppress(OSError):
                    self._hold(opened.noted, held(os.open(path, os.O_PATH | os.O_CLOEXEC)))
                    break
            else:
                left.append(opened)
        if over:
            self._missing += left
        elif left:
            self._opened[thread] = left

    def _hold(self, noted: Noted, file: Held) -> None:
        if not file.regular or file.identity in self._written or len(self._written) >= self._most:
            file.close()
            return
        self._written[file.identity] = Written(noted.program, noted.process, noted.thread, file)

    def _copy(self, noted: Noted) -> Pair | None:
        """The pair that a copying call is about. A splice has a pipe on one side."""
        call = self._results.note(noted)
        try:
            destination = held(noted.destination)
        except OSError:
            os.close(noted.source)
            return None
        try:
            source = held(noted.source)
        except OSError:
            destination.close()
            return None
        if source.regular and not destination.regular:
            self._into_pipe(source, destination, noted.offset_in)
            return None
        offset_in = noted.offset_in
        if not source.regular:
            piped = self._pipes.get(source.identity)
            source.close()
            if piped is None or not destination.regular:
                destination.close()
                return None
            source, offset_in = held(os.dup(piped[0].fd)), piped[1]
        return self._pair(noted, call, source, destination, offset_in)

    def _into_pipe(self, source: Held, pipe: Held, offset: int) -> None:
        pipe.close()
        if before := self._pipes.pop(pipe.identity, None):
            before[0].close()
        self._pipes[pipe.identity] = source, offset

    def _pair(self, noted: Noted, call: Call, source: Held, destination: Held, offset_in: int) -> Pair:
        key = source.identity, destination.identity
        pair = self._pairs.get(key)
        if pair:
            source.close()
            destination.close()
        else:
            if len(self._pairs) >= self._most:
                self._too_many(self._pairs.pop(next(iter(self._pairs))))
            pair = self._pairs[key] = Pair(noted.program, noted.process, source, destination)
        pair.add(NAMES[noted.kind], call, offset_in, noted.offset_out, noted.length)
        return pair

    def _leave(self, thread: int) -> None:
        """A thread has gone on: its last pair can be looked at."""
        pair = self._of_thread.pop(thread, None)
        if pair is None:
            return
        key = pair.source.identity, pair.destination.identity
        if self._pairs.get(key) is pair and self._settled(pair):
            del self._pairs[key]
            pair.close()
            if written := self._written.pop(pair.destination.identity, None):
                written.file.close()
