"""fusecopy log: show what became of the copies in a mount."""

import gc
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TypeVar, get_args

import click

from fusecopy.cli.arguments import NAME
from fusecopy.cli.finding import find_log
from fusecopy.cli.selecting import selecting
from fusecopy.dispatch.reader import GONE, Line, batches, gone_before, line_batches
from fusecopy.dispatch.records import Copy, Flow, Record, Tree
from fusecopy.dispatch.selection import Selection
from fusecopy.dispatch.summary import Summary
from fusecopy.terminal import redraw, say
from fusecopy.views import sums
from fusecopy.views.folding import Fold, Item, folded
from fusecopy.views.format import Colour, use_colour
from fusecopy.views.table import Table

T = TypeVar("T")


@click.command("log")
@click.argument("target", required=False, type=NAME)
@click.option(
    "-F",
    "--follow",
    is_flag=True,
    help="Follow: show copies from now on (or --since, -N, --all) as they come; ^C ends it.",
)
@selecting
@click.option("-N", "--count", type=click.IntRange(min=1), help="Only the last so many copies.")
@click.option("--flows", is_flag=True, help="Each flow, not one line for those that follow each other.")
@click.option("--wide", is_flag=True, help="All columns, names and causes whole, on any terminal.")
@click.option("-c", "--summary", is_flag=True, help="Sums instead of copies.")
@click.option("--all", "everything", is_flag=True, help="Earlier mounts too, not only the newest.")
@click.option("--json", "as_json", is_flag=True, help="The records as they stand in the log, one a line.")
@click.option("-q", "--quiet", is_flag=True, help="No causes and remedies.")
@click.option("--color", "colour", type=click.Choice(get_args(Colour)), default="auto", show_default=True)
def command(
    target: str | None,
    selection: Selection,
    follow: bool,
    count: int | None,
    flows: bool,
    wide: bool,
    summary: bool,
    everything: bool,
    as_json: bool,
    quiet: bool,
    colour: Colour,
) -> None:
    """Show what became of the copies in a mount.

    TARGET is a mount point or a log file; without it, the only mount there is. DISPATCH says whether
    the copy was dispatched to fusecopy, moved by the kernel (fallback), moved by the program
    (bypassed), or refused. SHARED is what is proven to share extents with the source; `?` where the
    backing cannot tell. Writes that are not known to be a copy are flows: `-`, and those of one program
    that follow each other in one line. In sums (-c) TOOK is the time of all copies added up, and RATE
    bytes by that time.
    """
    if follow and not (selection.since or summary or count or everything):
        selection = replace(selection, since=datetime.now().astimezone())
    stop = threading.Event() if follow else None
    with _ended_quietly(follow):
        log = find_log(target)
        if as_json:
            stored = _gone_told(line_batches(log, since_mount=not everything, stop=stop))
            lines = _chosen(stored, lambda batch: [line for line in batch if selection.wants(line.record)])
            _show_json(_last(lines, count, lambda line: line.record))
            return
        records = _chosen(batches(log, since_mount=not everything, stop=stop), selection.of)
        if summary:
            _show_sums(_last(records, count), follow)
        else:
            items: Iterable[Sequence[Item]] = records if flows else folded(records)
            Table(quiet, use_colour(colour, sys.stdout), wide).show(_last(items, count))


def _chosen(stored: Iterable[list[T]], choose: Callable[[list[T]], list[T]]) -> Iterator[list[T]]:
    """What is wanted of each batch; empty ones, which say that nothing comes for now, as they are."""
    return (chosen for batch in stored if (chosen := choose(batch)) or not batch)


def _last(
    stored: Iterable[Sequence[T]], count: int | None, shown: Callable[[T], object] = lambda item: item
) -> Iterator[Sequence[T]]:
    """The last so many copies of what is there when it is read to its end, with what stands between them,
    and all that comes later."""
    left = iter(stored)
    if count is None:
        yield from left
        return
    kept, rows = deque[T](), 0
    for batch in left:
        if not batch:
            break
        for item in batch:
            kept.append(item)
            rows += _is_row(shown(item))
            while kept and (rows > count or not _is_row(shown(kept[0]))):
                rows -= _is_row(shown(kept.popleft()))
    yield list(kept)
    yield from left


def _is_row(item: object) -> bool:
    return isinstance(item, Copy | Flow | Tree | Fold)


def _show_json(stored: Iterable[Sequence[Line]]) -> None:
    for batch in stored:
        for line in batch:
            click.echo(line.text, nl=False)


def _gone_told(stored: Iterable[list[Line]]) -> Iterator[list[Line]]:
    """The same lines; where the beginning is gone, that is said, since no line says it."""
    first = True
    for batch in stored:
        if first and (gone := gone_before([line.record for line in batch])):
            say(f"fusecopy: {gone} records before these are missing: {GONE}", sys.stderr)
        first = first and not batch
        yield batch


@contextmanager
def _ended_quietly(follow: bool) -> Iterator[None]:
    """End in order on ^C when following, and when the reader of a pipe has gone."""
    try:
        yield
    except KeyboardInterrupt:
        if not follow:
            raise
    except BrokenPipeError:
        # What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_sums(stored: Iterable[Sequence[Record]], follow: bool) -> None:
    """On a terminal that is followed, again whenever something has come."""
    summary, changed = Summary(), True
    gc.disable()  # records are in no cycle; looking for cycles takes an eighth of the time
    live = follow and sys.stdout.isatty()
    with _ended_quietly(follow):
        for records in stored:
            summary.add_all(records)
            changed = changed or bool(records)
            if live and changed and not records:  # all that is there is counted
                redraw(list(sums.lines(summary)))
                changed = False
    if not live:
        for line in sums.lines(summary):
            say(line)
