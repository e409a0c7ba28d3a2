"""What a live view shows: the newest copies and flows, sums, and how many there were each second."""

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fusecopy.dispatch.records import Copy, Flow, Record, Tree
from fusecopy.dispatch.summary import Summary

KEPT = 500
"""Rows to scroll back through; older ones are in the log, and in the sums."""

SECONDS = 60
"""Of which it is known how many copies came."""

Row = Copy | Flow | Tree

ORDERS: dict[str, Callable[[Row], float]] = {
    "newest": lambda row: -row.mono_ns,
    "largest": lambda row: -bytes_of(row),
    "longest": lambda row: -row.duration_us,
}
"""How rows may be sorted, in the order in which they are offered."""


def bytes_of(row: Row) -> int:
    """What was copied or written, or, where nothing was, asked for."""
    if isinstance(row, Copy):
        return row.copied or row.length
    return row.bytes if isinstance(row, Tree) else row.requests.write_bytes


@dataclass(slots=True)
class Live:
    """Counts what comes; all of it, whatever of it is shown.

    Attributes:
        rows: the newest, in the order in which they came.
        summary: the sums of all.
        arrived: copies by the second, of CLOCK_MONOTONIC, in which they came here.
    """

    rows: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))
    summary: Summary = field(default_factory=Summary)
    arrived: Counter[int] = field(default_factory=Counter)

    def add_all(self, records: Sequence[Record]) -> None:
        """Count records that came just now."""
        self.summary.add_all(records)
        self.rows.extend(record for record in records if isinstance(record, Copy | Flow | Tree))
        now = int(time.monotonic())
        self.arrived[now] += sum(isinstance(record, Copy) for record in records)
        for second in [second for second in self.arrived if second < now - SECONDS]:
            del self.arrived[second]

    def rates(self) -> list[int]:
        """Copies in each of the last seconds, the newest last."""
        now = int(time.monotonic())
        return [self.arrived[second] for second in range(now - SECONDS + 1, now + 1)]

    def ordered(self, order: str) -> list[Row]:
        """The rows that are kept, by one of ORDERS."""
        return sorted(self.rows, key=ORDERS[order])
