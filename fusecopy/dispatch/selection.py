"""Choosing records of the log."""

from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from fusecopy.dispatch.records import Coherence, Copy, Flow, Lost, Note, Policy, Record, Tree


@dataclass(frozen=True, slots=True)
class Selection:
    """Which copies, flows and trees are wanted. Everything given must hold; what is empty holds for all.

    Attributes:
        pids: process ids, any of them.
        comm: part of the program's name.
        glob: shell pattern (`*` matches `/` too) for the source's or the destination's path in the mount.
        dispatches: dispatches, any of them; a flow has none, a tree that failed counts as refused.
        uids: user ids, any of them.
        drivers: drivers, any of them; a tree has none.
        least: bytes that were copied, written or, of a refused copy, asked for.
        since: when the copy ended, or later.
    """

    pids: frozenset[int] = frozenset()
    comm: str = ""
    glob: str = ""
    dispatches: frozenset[str] = frozenset()
    uids: frozenset[int] = frozenset()
    drivers: frozenset[str] = frozenset()
    least: int = 0
    since: datetime | None = None

    def wants(self, record: Record) -> bool:
        """Whether a record is wanted. Those that are none of these always are: they qualify the others."""
        if isinstance(record, Policy | Coherence | Note | Lost) and not self._is_in_time(record.time):
            return False
        if not isinstance(record, Copy | Flow | Tree):
            return True
        return (
            (not self.pids or record.pid in self.pids)
            and self.comm in record.comm
            and (not self.glob or any(fnmatchcase(path, self.glob) for path in _paths(record)))
            and (not self.dispatches or _dispatch(record) in self.dispatches)
            and (not self.uids or record.uid in self.uids)
            and (not self.drivers or getattr(record, "driver", "") in self.drivers)
            and _size(record) >= self.least
            and self._is_in_time(record.time)
        )

    def _is_in_time(self, time: str) -> bool:
        return self.since is None or datetime.fromisoformat(time) >= self.since

    def of(self, records: list[Record]) -> list[Record]:
        """The records that are wanted."""
        return records if self == EVERYTHING else [record for record in records if self.wants(record)]


EVERYTHING = Selection()


def _dispatch(record: Copy | Flow | Tree) -> str:
    if isinstance(record, Copy):
        return record.dispatch
    return "refused" if isinstance(record, Tree) and record.errno else ""


def _size(record: Copy | Flow | Tree) -> int:
    if isinstance(record, Copy):
        return record.copied or record.length
    return record.bytes if isinstance(record, Tree) else record.requests.write_bytes


def _paths(record: Copy | Flow | Tree) -> list[str]:
    return [record.dst] if isinstance(record, Flow) else [record.src, record.dst]
