"""What passes through an open file besides offloaded copies: who reads, who writes, and what was declined.

The native layer counts the requests. Here is what is known about them besides, kept with the open file, and
the pairing of one process's reads of one file with its writes into another.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fusecopy.copying.records import Attempt, Path, Refusal, Sharing
from fusecopy.copying.sharing import total
from fusecopy.dispatch.records import Dispatch
from fusecopy.native.files import Client
from fusecopy.observe.caller import UNKNOWN, Call, Caller

READAHEAD = 1 << 20
"""Bytes by which the kernel may have read more than the program took."""

NEARBY_NS = 1_000_000_000
"""How long before the first write the last read may have been."""

REMEMBERED = 256
"""Reads of files closed already that a later close of their copy may still be paired with."""


@dataclass(slots=True)
class Carried:
    """One or more contiguous requests of one program that together are one copy."""

    caller: Caller
    asked: str
    source: bytes
    off_in: int
    off_out: int
    length: int
    copied: int
    attempts: list[Attempt]
    paths: dict[Path, int]
    sharing: Sharing
    shared_before: int | None
    errno: int
    refusal: Refusal | None
    dispatch: Dispatch
    begun_ns: int
    ended_ns: int
    requests: int = 1
    driver: str = "copy_file_range"

    def continues(self, other: "Carried") -> bool:
        """Whether this is where `other` was cut short."""
        return (
            self.source == other.source
            and self.caller.pid == other.caller.pid
            and self.off_in == other.off_in + other.copied
            and self.off_out == other.off_out + other.copied
        )

    def extended_by(self, later: "Carried") -> "Carried":
        """Both as one copy."""
        paths = dict(self.paths)
        for path, count in later.paths.items():
            paths[path] = paths.get(path, 0) + count
        before = None
        if self.shared_before is not None and later.shared_before is not None:
            before = self.shared_before + later.shared_before
        return Carried(
            self.caller,
            self.asked,
            self.source,
            self.off_in,
            self.off_out,
            max(self.length, self.copied + later.length),
            self.copied + later.copied,
            self.attempts + later.attempts,
            paths,
            total([self.sharing, later.sharing]),
            before,
            later.errno,
            later.refusal,
            self.dispatch,
            self.begun_ns,
            later.ended_ns,
            self.requests + later.requests,
        )


@dataclass(slots=True)
class Declined:
    """Copy requests of one thread between two files, answered so that the kernel uses its own splice."""

    caller: Caller
    source: bytes
    off_in: int
    off_out: int
    length: int
    begun_ns: int
    attempts: list[Attempt]
    errno: int
    cause: str
    remedy: str
    requests: int = 1

    def takes_in(self, later: "Declined") -> bool:
        """Count a request that asks again for the rest of this copy; False where it is another copy.

        The kernel's splice may return short, and after ENOSYS to opcode 53 it asks once more with 47.
        """
        further = later.off_in - self.off_in
        same_end = later.off_in + later.length == self.off_in + self.length
        same_place = later.off_out == self.off_out + further
        if later.source != self.source or further < 0 or not same_end or not same_place:
            return False
        self.requests += later.requests
        return True


@dataclass(slots=True)
class Flows:
    """What is known of the flows into and out of one open file; all by thread but `pending`.

    Attributes:
        callers: who reads or writes.
        calls: the system calls that writers were seen in, each with the bytes written before it.
        declined: the copy that the kernel carries itself.
        settled: writes and their bytes that have been reported already.
        pending: a copy that was cut short and may go on with the next request.
    """

    callers: dict[int, Caller] = field(default_factory=dict)
    calls: dict[int, list[tuple[int, Call]]] = field(default_factory=dict)
    declined: dict[int, Declined] = field(default_factory=dict)
    settled: dict[int, tuple[int, int]] = field(default_factory=dict)
    pending: Carried | None = None

    def caller(self, thread: int) -> Caller:
        """Who a thread is, as far as it was seen."""
        return self.callers.get(thread) or Caller(thread, "?", -1)

    def call(self, thread: int, written: int) -> Call:
        """The system call that drove most of the bytes that a thread has `written`.

        Each look counts for the bytes that came from then on until the next.
        """
        looks = self.calls.get(thread, [])
        ends = [begin for begin, _ in looks[1:]] + [written]
        moved: Counter[Call] = Counter()
        for (begin, call), end in zip(looks, ends, strict=True):
            moved[call] += end - begin
        known = [(count, call) for call, count in moved.items() if call.driver != UNKNOWN]
        return max(known, key=lambda item: item[0], default=(0, Call()))[1]


@dataclass(frozen=True, slots=True)
class Side:
    """What one process has moved through one open file, in READs or in WRITEs; and the file's size now."""

    caller: Caller
    client: Client
    size: int

    def joined(self, other: "Side") -> "Side":
        """Both as one: two threads of the same process."""
        a, b = self.client, other.client
        client = Client(
            a.pid,
            a.reads + b.reads,
            a.read_bytes + b.read_bytes,
            a.writes + b.writes,
            a.write_bytes + b.write_bytes,
            min(a.first_ns, b.first_ns),
            max(a.last_ns, b.last_ns),
            a.pipe_writes + b.pipe_writes,
        )
        return Side(self.caller, client, self.size)


def by_process(sides: Iterable[Side]) -> list[Side]:
    """Sides of threads as sides of their processes."""
    processes: dict[int, Side] = {}
    for side in sides:
        earlier = processes.get(side.caller.pid)
        processes[side.caller.pid] = earlier.joined(side) if earlier else side
    return list(processes.values())


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process has read of one open file.

    Attributes:
        path: the file, relative to the mount.
        sparse: it has fewer blocks than its size needs.
        side: who has read how much.
    """

    path: bytes
    sparse: bool
    side: Side

    @property
    def size(self) -> int:
        """The file's size, in bytes."""
        return self.side.size


@dataclass(frozen=True, slots=True)
class Paired:
    """A source found for writes, and by what: the process, or its process group (a pipeline, rsync)."""

    reading: Reading
    by: str


class Readings:
    """Reads of open and of recently closed files, each paired with writes at most once. Not locked."""

    def __init__(self) -> None:
        self._closed: deque[Reading] = deque(maxlen=REMEMBERED)

    def closed(self, readings: Iterable[Reading]) -> None:
        """Remember what was read of a file that is being closed."""
        self._closed.extend(readings)

    def of(self, process: int, path: bytes, still_open: Iterable[Reading]) -> Client | None:
        """What one process has read of the file at `path`, most recently."""
        readings = [*self._closed, *still_open]
        clients = [r.side.client for r in readings if r.side.caller.pid == process and r.path == path]
        return max(clients, key=lambda client: client.last_ns, default=None)

    def match(
        self, writer: Side, source: bytes, destination: bytes, still_open: Iterable[Reading]
    ) -> Paired | None:
        """The reads that a process's writes came from; the latest if several fit.

        Contents are not compared: what is paired is bytes in the same number, moved in the same time, by one
        process or, if whole files, within one process group. Where the writing system call named its
        `source`, nothing else is paired; where it did not, a file is not paired with itself.
        """
        readings = [*self._closed, *still_open]
        named = [r for r in readings if (r.path == source if source else r.path != destination)]
        for by, fits in (("process", _same_process), ("group", _same_group)):
            candidates = [reading for reading in named if fits(reading, writer)]
            if candidates:
                best = max(candidates, key=lambda reading: _likeness(reading, writer))
                if best in self._closed:
                    self._closed.remove(best)
                return Paired(best, by)
        return None


def _likeness(reading: Reading, writer: Side) -> tuple[bool, int]:
    """A whole file before one that was read a little further, the latest of several."""
    return _whole(reading, writer), reading.side.client.first_ns


def _same_process(reading: Reading, writer: Side) -> bool:
    if reading.side.caller.pid != writer.caller.pid or not _same_time(reading, writer):
        return False
    return _whole(reading, writer) or _holed(reading, writer) or _part(reading, writer)


def _same_group(reading: Reading, writer: Side) -> bool:
    """Two processes are a weaker sign than one, so they must have moved a whole file."""
    group = writer.caller.group
    same = group != 0 and reading.side.caller.group == group
    return same and _same_time(reading, writer) and _whole(reading, writer)


def _whole(reading: Reading, writer: Side) -> bool:
    """All of the source was read, all of the destination written, and now they are of one size."""
    moved = min(reading.side.client.read_bytes, writer.client.write_bytes)
    return 0 < reading.size == writer.size <= moved


def _holed(reading: Reading, writer: Side) -> bool:
    """Two files of one size, one of which was not written where the other has holes or zeros."""
    read, written = reading.side.client.read_bytes, writer.client.write_bytes
    return reading.size == writer.size and 0 < written <= read


def _part(reading: Reading, writer: Side) -> bool:
    """A part of the source, read a little further than it was written. Who reads all of a file and writes
    less has made something else of it."""
    read, written = reading.side.client.read_bytes, writer.client.write_bytes
    return read < reading.size and 0 <= read - written <= min(READAHEAD, read // 2)


def _same_time(reading: Reading, writer: Side) -> bool:
    read, wrote = reading.side.client, writer.client
    return (
        read.read_bytes > 0 and read.first_ns <= wrote.last_ns and read.last_ns >= wrote.first_ns - NEARBY_NS
    )
