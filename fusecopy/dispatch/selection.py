"""Choosing records of the log."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from fusecopy.dispatch.records import Copy, Flow, Record, Tree


@dataclass(frozen=True, slots=True)
class Selection:
    """Which copies, flows and trees are wanted. Everything given must hold; what is empty holds for all.

    Attributes:
        pids: process ids, any of them.
        comm: part of the program's name.
        glob: shell pattern (`*` matches `/` too) for the source's or the destination's path in the mount.
        dispatches: dispatches, any of them; a flow has none, a tree that failed counts as refused.
    """

    pids: frozenset[int] = frozenset()
    comm: str = ""
    glob: str = ""
    dispatches: frozenset[str] = frozenset()

    def wants(self, record: Record) -> bool:
        """Whether a record is wanted. Those that are none of these always are: they qualify the others."""
        if not isinstance(record, Copy | Flow | Tree):
            return True
        return (
            (not self.pids or record.pid in self.pids)
            and self.comm in record.comm
            and (not self.glob or any(fnmatchcase(path, self.glob) for path in _paths(record)))
            and (not self.dispatches or _dispatch(record) in self.dispatches)
        )

    def of(self, records: list[Record]) -> list[Record]:
        """The records that are wanted."""
        return records if self == EVERYTHING else [record for record in records if self.wants(record)]


EVERYTHING = Selection()


def _dispatch(record: Copy | Flow | Tree) -> str:
    if isinstance(record, Copy):
        return record.dispatch
    return "refused" if isinstance(record, Tree) and record.errno else ""


def _paths(record: Copy | Flow | Tree) -> list[str]:
    return [record.dst] if isinstance(record, Flow) else [record.src, record.dst]
