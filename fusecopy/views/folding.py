"""Flows of one program that follow each other closely, as one: a git clone makes one for each file."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fusecopy.dispatch.records import Flow, Record

GAP_NS = 1_000_000_000
"""A program's flows are one as long as no more time than this lies between two of them."""


@dataclass(slots=True)
class Fold:
    """Some flows of one program.

    Attributes:
        last: the last of them.
        count: how many.
        bytes: bytes that were written.
        duration_us: time that the writes took, in microseconds.
    """

    last: Flow
    count: int = 0
    bytes: int = 0
    duration_us: int = 0

    def add(self, flow: Flow) -> None:
        """Take in one more."""
        self.last = flow
        self.count += 1
        self.bytes += flow.requests.write_bytes
        self.duration_us += flow.duration_us


Item = Record | Fold
"""What a view shows in a row, or more."""


def folded(batches: Iterable[Sequence[Record]]) -> Iterator[Sequence[Item]]:
    """Records with their flows folded. A fold comes when it is complete; a flow alone as it was, and one
    that failed at once. After an empty batch, which says that nothing comes for now, what is complete by
    the clock comes too."""
    held: dict[str, Fold] = {}
    for batch in batches:
        shown = list(_folded(held, batch) if batch else _complete(held, time.monotonic_ns()))
        if shown or not batch:
            yield shown
    yield [_unfolded(fold) for fold in held.values()]


def _folded(held: dict[str, Fold], records: Iterable[Record]) -> Iterator[Item]:
    for record in records:
        if held:
            yield from _complete(held, getattr(record, "mono_ns", None))
        if isinstance(record, Flow) and record.errno is None:
            held.setdefault(record.comm, Fold(record)).add(record)
        else:
            yield record


def _complete(held: dict[str, Fold], now: int | None) -> Iterator[Item]:
    """Folds that nothing was added to for so long. A clock that is far behind is that of another boot; what
    has none is no copy, and stays in its place between them."""
    for comm, fold in list(held.items()):
        if now is None or abs(now - fold.last.mono_ns) > GAP_NS:
            del held[comm]
            yield _unfolded(fold)


def _unfolded(fold: Fold) -> Item:
    return fold if fold.count > 1 else fold.last
