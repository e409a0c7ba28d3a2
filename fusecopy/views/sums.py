"""The sums of a log as two tables: by dispatch and path, and by program."""

from collections.abc import Iterator

from fusecopy.dispatch.summary import Group, Summary
from fusecopy.views.format import Column, duration, header, rate, row, size

PASSTHROUGH = "passthrough: the kernel reads and writes by itself; only copy requests are seen"

NAME = 26

SUMS = [
    Column("COPIES", 6, number=True),
    Column("ASKED", 5, number=True),
    Column("SHARED", 6, number=True),
    Column("REWRITTEN", 9, number=True),
    Column("REQUESTS", 8, number=True),
    Column("TOOK", 5, number=True),
    Column("RATE", 6, number=True),
]

UNKNOWN = "unknown: which system call moved the bytes could not be seen (see fusecopy explain)"
MINIMA = "+: of some copies it is not known, so it is at least this"


def lines(summary: Summary) -> Iterator[str]:
    """The tables, and what has to be known to read them."""
    paths = {f"{dispatch:10} {path}": group for (dispatch, path), group in summary.by_path.items()}
    yield from _table(f"{'DISPATCH':10} PATH", {**paths, "total": summary.total})
    yield ""
    yield from _table("COMM", summary.by_program)
    notes = list(_notes(summary))
    if notes:
        yield ""
        yield from notes


def _notes(summary: Summary) -> Iterator[str]:
    if summary.flows:
        flows = "1 flow" if summary.flows == 1 else f"{summary.flows} flows"
        yield f"{flows} of writes with no source in the mount: {size(summary.flow_bytes)}"
    if any(dispatch == "unknown" for dispatch, _ in summary.by_path):
        yield UNKNOWN
    if summary.total.unprovable or summary.total.unmeasured:
        yield MINIMA
    if summary.passthrough:
        yield PASSTHROUGH
    if summary.lost:
        yield f"{summary.lost} records were lost and are not in these sums"


def _table(title: str, groups: dict[str, Group]) -> Iterator[str]:
    columns = [Column(title, NAME), *SUMS]
    yield header(columns)
    for name, group in groups.items():
        yield row(columns, [name, *_cells(group)])


def _cells(group: Group) -> list[str]:
    """A group's cells; a plus where some copies could not be measured and the sum is a minimum. The rate is
    that of one copy at a time: copies made side by side take the sum of their times."""
    return [
        str(group.copies),
        size(group.asked),
        size(group.shared) + "+" * bool(group.unprovable),
        size(group.rewritten) + "+" * bool(group.unmeasured),
        str(group.requests),
        duration(group.duration_us),
        rate(group.copied, group.duration_us),
    ]
