"""Running totals of a mount's copies."""

from collections import Counter

from fusecopy.dispatch.lines import Lines
from fusecopy.dispatch.records import Copy, Record, Totals


class Tally:
    """Counts copies as they come. Not locked: its owner sees to that."""

    def __init__(self) -> None:
        self._copies: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._shared = 0
        self._rewritten = 0

    def add(self, record: Record | Lines) -> None:
        """Count a copy, or many; other records change nothing. What is unknown about it counts as 0."""
        if isinstance(record, Lines):
            self._copies["dispatched"] += len(record.lines)
            self._bytes["dispatched"] += record.copied
            self._shared += record.shared
            self._rewritten += record.rewritten
        if not isinstance(record, Copy):
            return
        self._copies[record.dispatch] += 1
        self._bytes[record.dispatch] += record.copied or 0
        self._shared += record.shared or 0
        self._rewritten += record.rewritten or 0

    def totals(self) -> Totals:
        """The totals so far, as a record of their own."""
        return Totals(
            copies=dict(self._copies),
            bytes=dict(self._bytes),
            shared=self._shared,
            rewritten=self._rewritten,
        )
