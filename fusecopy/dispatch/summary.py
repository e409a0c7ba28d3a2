"""What a log amounts to: sums by dispatch and path, and by program."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fusecopy.dispatch.records import Copy, Flow, Header, Lost, Record, Requests


@dataclass(slots=True)
class Group:
    """Sums over some copies. Sizes are bytes.

    Attributes:
        copies: how many.
        asked: bytes the programs asked for.
        copied: bytes that were copied; copies of which it is not known are not in it.
        shared: bytes proven shared; `unprovable` copies are not in it.
        unprovable: copies that copied something, or may have, and may share some of it.
        rewritten: bytes physically written again; `unmeasured` copies are not in it.
        unmeasured: copies of which it is not known how much was written.
        requests: FUSE requests that served them.
        duration_us: time they took, in microseconds.
    """

    copies: int = 0
    asked: int = 0
    copied: int = 0
    shared: int = 0
    unprovable: int = 0
    rewritten: int = 0
    unmeasured: int = 0
    requests: int = 0
    duration_us: int = 0

    def add(self, copy: Copy) -> None:
        """Count one copy."""
        self.copies += 1
        self.asked += copy.length
        self.copied += copy.copied or 0
        self.shared += copy.shared or 0
        self.unprovable += copy.shared is None and copy.copied != 0
        self.rewritten += copy.rewritten or 0
        self.unmeasured += copy.rewritten is None
        self.requests += count(copy.requests)
        self.duration_us += copy.duration_us


@dataclass(slots=True)
class Summary:
    """The sums of a log.

    Attributes:
        by_path: by dispatch and path, in order of appearance.
        by_program: by the program's name (comm), in order of appearance.
        total: over all copies.
        flows: writes without a known source, which are no copies.
        lost: records that are missing from the log.
        passthrough: there was a mount whose files the kernel read and wrote by itself.
    """

    by_path: dict[tuple[str, str], Group] = field(default_factory=dict)
    by_program: dict[str, Group] = field(default_factory=dict)
    total: Group = field(default_factory=Group)
    flows: int = 0
    lost: int = 0
    passthrough: bool = False

    def add(self, record: Record) -> None:
        """Count one record."""
        if isinstance(record, Copy):
            self.by_path.setdefault((record.dispatch, record.path), Group()).add(record)
            self.by_program.setdefault(record.comm, Group()).add(record)
            self.total.add(record)
        elif isinstance(record, Flow):
            self.flows += 1
        elif isinstance(record, Lost):
            self.lost += record.count
        elif isinstance(record, Header):
            self.passthrough |= record.passthrough


def summarise(records: Iterable[Record]) -> Summary:
    """Sum records up in one pass."""
    summary = Summary()
    for record in records:
        summary.add(record)
    return summary


def count(requests: Requests) -> int:
    """How many FUSE requests there were, of any kind."""
    return requests.copies + requests.reads + requests.writes
