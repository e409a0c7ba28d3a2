"""docs/kernels.md, made of the columns in docs/kernels/: one for each series of Linux."""

from pathlib import Path

from labbing.guest import CLONE
from labbing.kernels import numbers
from probing.records import Column, Found

KEPT = CLONE / "docs" / "kernels"
PAGE = CLONE / "docs" / "kernels.md"

HEAD = """\
# What each kernel makes of a copy

Made by `scripts/lab --record` from the columns in [kernels/](kernels/): do not edit. Each column is a run of
the same probes (scripts/probing) on that kernel: small copies in mounts of fusecopy, of a file of 8 MiB on
btrfs where nothing else is said. Debian's kernels ran in QEMU guests, all with the same userland. To make a
column anew: `scripts/lab --kernel 6.1 --record`.

A cell says what the program was given, then the FUSE requests that moved data, as the server received them,
then what the dispatch log says of the copy. `=` means: as in the column to the left.
An empty cell was not probed there. In a guest without KVM a caller may still run when it is looked at; the
copy between two mounts is then a flow, whatever the kernel.
"""


def series(version: str) -> str:
    """6.1 of 6.1.192."""
    return ".".join(version.split(".")[:2])


def kept() -> list[Column]:
    """The columns there are, the oldest kernel first."""
    found = [Column.parse(path.read_text()) for path in KEPT.glob("*.json")]
    return sorted(found, key=lambda column: numbers(column.kernel))


def keep(column: Column) -> Path:
    """Keep a column, in place of the one that its series had, and make the page anew; where it is kept."""
    path = KEPT / f"{series(column.kernel)}.json"
    KEPT.mkdir(exist_ok=True)
    path.write_text(column.json())
    write()
    return path


def write() -> None:
    """Make the page anew."""
    PAGE.write_text(page(kept()))


def page(columns: list[Column]) -> str:
    """docs/kernels.md."""
    names = list(dict.fromkeys(name for column in columns for name in column.facts))
    rows = [[name, *(column.facts.get(name, "") for column in columns)] for name in names]
    parts = [HEAD, "## The kernels\n", _table("", columns, rows)]
    for section in dict.fromkeys(one.section for column in columns for one in column.found):
        parts += [f"## {section}\n", _table("what is done", columns, _rows(section, columns))]
    return "\n".join(parts)


def _rows(section: str, columns: list[Column]) -> list[list[str]]:
    """A row for each probe, by the words of the newest column that has it."""
    by_name: list[dict[str, Found]] = [{one.name: one for one in column.found} for column in columns]
    names = [one.name for column in reversed(columns) for one in column.found if one.section == section]
    rows = []
    for name in dict.fromkeys(names):
        asked = next(found[name].asked for found in reversed(by_name) if name in found)
        rows.append([asked, *(found[name].text() if name in found else "" for found in by_name)])
    return rows


def _table(corner: str, columns: list[Column], rows: list[list[str]]) -> str:
    head = [corner, *(column.kernel for column in columns)]
    lines = [head, ["---"] * len(head)]
    for first, *cells in rows:
        pairs = zip([None, *cells], cells, strict=False)
        lines.append([first, *("=" if new and new == old else new for old, new in pairs)])
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
