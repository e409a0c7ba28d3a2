"""What passes through an open file besides offloaded copies: who reads, who writes, and what was declined.

The native layer counts the requests. Here is what is known about them besides, kept with the open file.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from fusecopy.copying.records import Attempt, CopyPath, Refusal, Sharing
from fusecopy.copying.sharing import total
from fusecopy.dispatch.records import Dispatch
from fusecopy.native.drivers import UNKNOWN, Driver
from fusecopy.native.files import Moved
from fusecopy.observe.caller import Caller


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
    paths: dict[CopyPath, int]
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
    """Copy requests of one thread between two files, answered so that the kernel uses its own splice.

    Attributes:
        read: what the kernel has read of the source for it, once `end_reading` was called.
    """

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
    read: Moved = field(default_factory=Moved)
    end_reading: Callable[[], None] = lambda: None

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


class MountFile(Protocol):
    """A file of the mount."""

    @property
    def number(self) -> int:
        """Its inode number in the mount."""

    def path(self) -> bytes:
        """Path relative to the mount."""


@dataclass(slots=True)
class Flows:
    """What is known of the flows into and out of one open file; all by thread but `pending`.

    Attributes:
        callers: who reads or writes.
        drivers: what writers were driven by, each with the bytes written before it.
        sources: the files of the mount that calls read from, by st_ino.
        declined: the copy that the kernel carries itself.
        read_for: the copy that the kernel carries itself out of this file.
        pending: a copy that was cut short and may go on with the next request.
        offloaded: the server has copied into it: what it holds does not show where writes came from.
        asked: the server was asked to copy into it, or to clone, whatever became of that.
    """

    callers: dict[int, Caller] = field(default_factory=dict)
    drivers: dict[int, list[tuple[int, Driver]]] = field(default_factory=dict)
    sources: dict[int, MountFile] = field(default_factory=dict)
    declined: dict[int, Declined] = field(default_factory=dict)
    read_for: dict[int, Declined] = field(default_factory=dict)
    pending: Carried | None = None
    offloaded: bool = False
    asked: bool = False

    def caller(self, thread: int, uid: int = -1) -> Caller:
        """Who a thread of the user `uid` is, as far as it was seen."""
        return self.callers.get(thread) or Caller(max(thread, 0), "?", uid)

    def forget(self, thread: int) -> None:
        """A thread will ask for nothing more."""
        self.callers.pop(thread, None)
        self.drivers.pop(thread, None)

    def drove(self, thread: int, written: int) -> "Counter[Driver]":
        """How many of the bytes that a thread has `written` each driver moved.

        Each look counts for the bytes that came from then on until the next.
        """
        looks = self.drivers.get(thread, [])
        ends = [begin for begin, _ in looks[1:]] + [written]
        moved: Counter[Driver] = Counter()
        for (begin, driver), end in zip(looks, ends):  # noqa: B905 - without looks there is one end
            moved[driver] += end - begin
        return moved


@dataclass(frozen=True, slots=True)
class Side:
    """What one process has moved through one open file, in READs or in WRITEs.

    Attributes:
        caller: the process.
        moved: its requests.
        size: the file's size now, in bytes.
        drivers: of WRITEs, the bytes that each driver moved.
    """

    caller: Caller
    moved: Moved
    size: int
    drivers: "Counter[Driver]" = field(default_factory=Counter)

    def joined(self, other: "Side") -> "Side":
        """Both as one: two threads of the same process."""
        return Side(self.caller, self.moved.joined(other.moved), self.size, self.drivers + other.drivers)

    @property
    def driver(self) -> Driver:
        """What moved most of the bytes, as far as it is known."""
        known = [(count, driver) for driver, count in self.drivers.items() if driver.name != UNKNOWN]
        return max(known, key=lambda item: item[0], default=(0, Driver()))[1]

    @property
    def is_seen(self) -> bool:
        """Whether all of it was moved by `driver`."""
        return self.drivers[self.driver] >= self.moved.bytes


def by_process(sides: Iterable[Side]) -> list[Side]:
    """Sides of threads as sides of their processes."""
    processes: dict[int, Side] = {}
    for side in sides:
        earlier = processes.get(side.caller.pid)
        processes[side.caller.pid] = earlier.joined(side) if earlier else side
    return list(processes.values())
