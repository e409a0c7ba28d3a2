"""The log as a table, copy by copy."""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import click

from fusecopy.dispatch.records import Coherence, Copy, Flow, Header, Lost, Note, Policy, Tree
from fusecopy.terminal import printable, say
from fusecopy.views.folding import Fold, Item
from fusecopy.views.format import Column, end_cut, header, middle_cut, milliseconds, percent, row, size
from fusecopy.views.sums import PASSTHROUGH

COPIES = [
    Column("TIME", 8),
    Column("PID", 7),
    Column("COMM", 10),
    Column("SIZE", 5, number=True),
    Column("DISPATCH", 10),
    Column("PATH", 15),
    Column("SHARED", 6, number=True),
    Column("MS", 6, number=True),
    Column("FILE", 0),
]

COLOURS = {"dispatched": "green", "fallback": "yellow", "refused": "red"}

NARROW = 100
"""A terminal of fewer columns has no room for what tells the processes apart beside the names of files."""

LEFT_OUT = ("TIME", "PID")
LEAST_NAME = 12
"""Characters that FILE has at least, on however narrow a terminal."""

LEGENDS = {
    Flow: "- : writes with no source in the mount, so not known to be a copy",
    Fold: "- : writes with no source in the mount; --flows shows each file",
    Tree: "- : a whole tree, whose files have rows of their own",
}
"""What a dash in DISPATCH means, by what the row is of; said below the first such row."""


class Layout(NamedTuple):
    """The columns that are shown, and how many characters the name of a file and a sentence may have."""

    columns: list[Column]
    name: int
    sentence: int


WHOLE = Layout(COPIES, sys.maxsize, sys.maxsize)


def fitting(width: int) -> Layout:
    """What fits a terminal of so many columns."""
    columns = [column for column in COPIES if width >= NARROW or column.title not in LEFT_OUT]
    return Layout(columns, max(LEAST_NAME, width - sum(column.width + 1 for column in columns)), width)


class Table:
    """Prints a table to standard output.

    Args:
        quiet: neither causes and remedies nor legends.
        coloured: by dispatch.
        wide: all columns and whole texts on a terminal too, as everywhere else.
    """

    def __init__(self, quiet: bool, coloured: bool, wide: bool) -> None:
        # On a terminal a screen is the titles, the rows, and the line that the cursor is on.
        terminal = sys.stdout.isatty()
        width, height = shutil.get_terminal_size()
        self._page = max(1, height - 2) if terminal else sys.maxsize
        self._layout = fitting(width) if terminal and not wide else WHOLE
        self._quiet = quiet
        self._coloured = coloured
        self._shown = 0
        self._mount: Header | None = None
        self._legends = set[type]()

    def show(self, batches: Iterable[Sequence[Item]]) -> None:
        """Print the titles, and each item as it comes."""
        say(header(self._layout.columns))
        for items in batches:
            for item in items:
                self._show(item)

    def _show(self, item: Item) -> None:
        if isinstance(item, Header):
            if item == self._mount:
                return  # the same mount's, again at the head of its next file
            self._mount = item
        texts = list(self._texts(item))
        if self._shown and self._shown + len(texts) > self._page:
            say(header(self._layout.columns))
            self._shown = 0
        for text in texts:
            _say_painted(text, item) if self._coloured else say(text)
        self._shown += len(texts)

    def _texts(self, item: Item) -> Iterator[str]:
        """The lines that show one item."""
        if not isinstance(item, Copy | Flow | Tree | Fold):
            yield from (f"  {end_cut(text, self._layout.sentence - 2)}" for text in _remark(item))
            return
        yield row(self._layout.columns, _cells(item, self._layout))
        if self._quiet:
            return
        yield from (f"  {end_cut(text, self._layout.sentence - 2)}" for text in why(item))
        if type(item) in LEGENDS and type(item) not in self._legends:
            self._legends.add(type(item))
            yield f"  {LEGENDS[type(item)]}"


def why(item: Copy | Flow | Tree | Fold) -> Iterator[str]:
    """Errno and cause, then the remedy, as far as they are known."""
    match item:
        case Copy():
            parts = [item.errno, item.cause]
        case Tree():
            parts = [item.at, item.errno, item.cause]
        case Flow(errno=str(name)):
            parts = [name, "The last write failed."]
        case _:
            return
    if cause := ": ".join(part for part in parts if part):
        yield cause
    if isinstance(item, Copy | Tree) and item.remedy:
        yield item.remedy


def _say_painted(text: str, item: Item) -> None:
    colour = COLOURS.get(item.dispatch) if isinstance(item, Copy) else None
    click.secho(printable(text), fg=colour, color=True)


def _remark(item: Item) -> Iterator[str]:
    """What is said of the mount and its log between the copies."""
    match item:
        case Header(passthrough=True):
            yield PASSTHROUGH
        case Policy():
            yield f"{item.time[11:19]} policy is now {item.policy}"
        case Coherence():
            yield f"{item.time[11:19]} coherence is now {item.coherence}: {item.cause} {item.remedy}".rstrip()
        case Note():
            yield f"{item.time[11:19]} {item.text}"
        case Lost():
            yield f"{item.count} records were lost here" + (f": {item.why}" if item.why else "")


def _cells(item: Copy | Flow | Tree | Fold, layout: Layout) -> list[str]:
    """The cells of the columns that are shown."""
    one = item.last if isinstance(item, Fold) else item
    pid = "-" if isinstance(item, Fold) else str(one.pid)
    name = middle_cut(_name(item), layout.name)
    cells = [one.time[11:19], pid, one.comm, *_became(item), milliseconds(item.duration_us), name]
    return cells[-len(layout.columns) :]


def _name(item: Copy | Flow | Tree | Fold) -> str:
    match item:
        case Fold():
            return f"{item.count} flows"
        case Tree(errno=None):
            return f"{item.dst}: {item.files} files, {item.directories} directories"
        case _:
            return item.dst


def _became(item: Copy | Flow | Tree | Fold) -> tuple[str, str, str, str]:
    """Size, dispatch, path and what is shared. Only a copy has a dispatch; the size of one of which nothing
    was copied is what was asked for."""
    match item:
        case Copy(copied=None):
            return "?", item.dispatch, item.path, "?"
        case Copy(copied=int(copied)):
            shared = "?" if item.shared is None and copied else percent(item.shared or 0, copied - item.holes)
            return size(copied or item.length), item.dispatch, item.path, shared
        case Tree():
            unprovable = item.unprovable and not item.shared
            shared = "-" if item.errno else "?" if unprovable else percent(item.shared, item.bytes)
            return size(item.bytes), "-", "tree", shared
        case Fold():
            return size(item.bytes), "-", "client", "-"
        case Flow():
            return size(item.requests.write_bytes), "-", "client", "-"
    raise TypeError(type(item))
