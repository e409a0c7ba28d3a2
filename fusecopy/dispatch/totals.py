"""Running totals of a mount's copies."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from fusecopy.dispatch.lines import Lines
from fusecopy.dispatch.records import Copy, Flow, Record, Totals

DURATION_BOUNDS_US = [16 * 4**power for power in range(12)]
"""How long copies take, in classes: up to 16 us, up to four times as long, and so on, to 67 seconds."""


@dataclass(slots=True)
class Sums:
    """Sums of copies of one dispatch and path; sizes are bytes, what is unknown of a copy counts as 0.

    Attributes:
        durations: copies that took up to each of DURATION_BOUNDS_US and longer than the one before, then
            those that took longer than all.
        duration_us: time of all, in microseconds.
    """

    copies: int = 0
    copied: int = 0
    shared: int = 0
    rewritten: int = 0
    durations: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS_US) + 1))
    duration_us: int = 0

    def add(self, copied: int, shared: int, rewritten: int, durations_us: Sequence[int]) -> None:
        """Count copies by what all of them amount to, and how long each took."""
        self.copies += len(durations_us)
        self.copied += copied
        self.shared += shared
        self.rewritten += rewritten
        self.duration_us += sum(durations_us)
        for duration in durations_us:
            self.durations[bisect_left(DURATION_BOUNDS_US, duration)] += 1


class Tally:
    """Counts what is put in the log as it comes. Not locked: its owner sees to that.

    Attributes:
        sums: by dispatch and path.
        flows, flow_bytes: writes that are not known to be a copy.
    """

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], Sums] = {}
        self.flows = 0
        self.flow_bytes = 0

    def add(self, record: Record | Lines) -> None:
        """Count a copy, or many, or a flow; other records change nothing."""
        match record:
            case Lines():
                sums = self._sums("dispatched", record.path)
                sums.add(record.copied, record.shared, record.rewritten, record.durations_us)
            case Copy():
                known = record.copied or 0, record.shared or 0, record.rewritten or 0
                self._sums(record.dispatch, record.path).add(*known, [record.duration_us])
            case Flow():
                self.flows += 1
                self.flow_bytes += record.requests.write_bytes

    def _sums(self, dispatch: str, path: str) -> Sums:
        return self.sums.setdefault((dispatch, path), Sums())

    def totals(self) -> Totals:
        """The totals so far, as a record of their own."""
        copies, copied = Counter[str](), Counter[str]()
        for (dispatch, _), sums in self.sums.items():
            copies[dispatch] += sums.copies
            copied[dispatch] += sums.copied
        return Totals(
            copies=dict(copies),
            bytes=dict(copied),
            shared=sum(sums.shared for sums in self.sums.values()),
            rewritten=sum(sums.rewritten for sums in self.sums.values()),
        )
