"""What passes through an open file besides offloaded copies: who reads, who writes, and what was declined.

The native layer counts the requests. Here is what is known about them besides, kept with the open file, and
the pairing of one process's reads of one file with its writes into another.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fusecopy.copying.records import Attempt, Path, Refusal, Sharing
from fusecopy.dispatch.records import Dispatch
from fusecopy.libfuse import Client
from fusecopy.observe.caller import Call, Caller

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
    sharing: list[Sharing]
    shared_before: int
    rewritten: int | None
    errno: int
    refusal: Refusal | None
    dispatch: Dispatch
    begun_ns: int
    ended_ns: int
    requests: int = 1

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
        rewritten = None
        if self.rewritten is not None and later.rewritten is not None:
            rewritten = self.rewritten + later.rewritten
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
            self.sharing + later.sharing,
            self.shared_before + later.shared_before,
            rewritten,
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
    cause: str
    remedy: str
    requests: int = 1

    def takes_in(self, later: "Declined") -> bool:
        """Count a request that asks again for the rest of this copy; False where it is another copy.

        The kernel's splice may return short, and after ENOSYS to opcode 53 it asks once more with 47.
        """
        same_end = later.off_in + later.length == self.off_in + self.length
        if later.source != self.source or not same_end or later.off_in < self.off_in:
            return False
        self.requests += later.requests
        return True


@dataclass(slots=True)
class Flows:
    """What is known of the flows into one open file.

    Attributes:
        writers: who wrote, and in which system call they were at their first write; by thread.
        declined: the copy that the kernel carries itself; by thread.
        settled: writes of a thread and their bytes that have been reported already; by thread.
        pending: a copy that was cut short and may go on with the next request.
    """

    writers: dict[int, tuple[Caller, Call]] = field(default_factory=dict)
    declined: dict[int, Declined] = field(default_factory=dict)
    settled: dict[int, tuple[int, int]] = field(default_factory=dict)
    pending: Carried | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one process has read of one open file."""

    path: bytes
    size: int
    client: Client


class Readings:
    """Reads of open and of recently closed files, each paired with writes at most once. Not locked."""

    def __init__(self) -> None:
        self._closed: deque[Reading] = deque(maxlen=REMEMBERED)

    def closed(self, readings: Iterable[Reading]) -> None:
        """Remember what was read of a file that is being closed."""
        self._closed.extend(readings)

    def of(self, thread: int, path: bytes, still_open: Iterable[Reading]) -> Client | None:
        """What one thread has read of the file at `path`, most recently."""
        readings = [*self._closed, *still_open]
        clients = [r.client for r in readings if r.client.pid == thread and r.path == path]
        return max(clients, key=lambda client: client.last_ns, default=None)

    def match(
        self, writer: Client, source: bytes, destination: bytes, still_open: Iterable[Reading]
    ) -> Reading | None:
        """The reads that a process's writes came from, by process, time and bytes; the latest if several.

        Contents are not compared: what is paired is bytes in the same number, moved in the same time. Where
        the writing system call named its `source`, nothing else is paired; where it did not, a file is not
        paired with itself.
        """
        readings = [*self._closed, *still_open]
        named = [r for r in readings if (r.path == source if source else r.path != destination)]
        candidates = [r for r in named if _fits(r, writer)]
        if not candidates:
            return None
        best = max(candidates, key=lambda reading: reading.client.first_ns)
        if best in self._closed:
            self._closed.remove(best)
        return best


def _fits(reading: Reading, writer: Client) -> bool:
    client = reading.client
    if client.pid != writer.pid or not client.read_bytes:
        return False
    if client.first_ns > writer.last_ns or client.last_ns < writer.first_ns - NEARBY_NS:
        return False
    surplus = client.read_bytes - writer.write_bytes
    return writer.write_bytes == reading.size or 0 <= surplus <= min(READAHEAD, client.read_bytes // 2)
