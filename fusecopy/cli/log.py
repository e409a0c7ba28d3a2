"""fusecopy log: show what became of the copies in a mount."""

import gc
import os
import shutil
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, get_args

import click

from fusecopy import asking, mounts, running
from fusecopy.cli.arguments import PATH
from fusecopy.cli.choosing import bytes_of, moment
from fusecopy.cli.format import (
    Colour,
    Column,
    header,
    middle_cut,
    milliseconds,
    percent,
    row,
    size,
    use_colour,
)
from fusecopy.dispatch.reader import Line, batches, lines
from fusecopy.dispatch.records import (
    Coherence,
    Copy,
    Dispatch,
    Flow,
    Header,
    Lost,
    Note,
    Policy,
    Record,
    Tree,
)
from fusecopy.dispatch.selection import Selection
from fusecopy.dispatch.summary import Group, Summary
from fusecopy.errors import LogError, UsageError
from fusecopy.terminal import printable, say

FLUSH_SECONDS = 2.0
"""How long a server may take to write what it holds."""

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

SUMS = [
    Column("COPIES", 7, number=True),
    Column("ASKED", 6, number=True),
    Column("SHARED", 7, number=True),
    Column("REWRITTEN", 9, number=True),
    Column("REQUESTS", 8, number=True),
]

DISPATCHES = get_args(Dispatch)

COLOURS = {"dispatched": "green", "fallback": "yellow", "refused": "red"}

WIDTH = 79

NARROW = 100
"""A terminal of fewer columns has no room for what tells the processes apart beside the names of files."""

LEFT_OUT = ("TIME", "PID")
LEAST_NAME = 12
"""Characters that FILE has at least, on however narrow a terminal."""

PASSTHROUGH = "passthrough: the kernel reads and writes by itself; only copy requests are seen"


@click.command("log")
@click.argument("target", required=False, type=PATH)
@click.option(
    "-F",
    "--follow",
    is_flag=True,
    help="Follow: show copies from now on (or --since, --all) as they come; ^C ends it.",
)
@click.option(
    "-p",
    "--pid",
    "pids",
    type=click.IntRange(min=1),
    multiple=True,
    help="Only of this process; may be repeated.",
)
@click.option("-n", "--comm", default="", help="Only of programs whose name contains this.")
@click.option("-P", "--path", "glob", default="", metavar="GLOB", help="Only where either file matches.")
@click.option(
    "-e", "--dispatch", "chosen", metavar="LIST", help="Only of these dispatches: " + ",".join(DISPATCHES)
)
@click.option("-x", "failures", is_flag=True, help="Only fallbacks and refusals.")
@click.option("--uid", "uids", type=click.IntRange(min=0), multiple=True, help="Only of this user id.")
@click.option("--driver", "drivers", multiple=True, metavar="CALL", help="Only driven by this system call.")
@click.option("--size", "least", default="0", metavar="BYTES", help="Only of so much or more, as 64K or 1M.")
@click.option(
    "--since", default="", metavar="WHEN", help="Only from then on: 90s, 10m, 2h, 1d ago; or a time."
)
@click.option("--wide", is_flag=True, help="All columns and whole names, on however narrow a terminal.")
@click.option("-c", "--summary", is_flag=True, help="Sums instead of copies.")
@click.option("-N", "--count", type=click.IntRange(min=1), help="Stop after so many copies.")
@click.option("--all", "everything", is_flag=True, help="Earlier mounts too, not only the newest.")
@click.option("--json", "as_json", is_flag=True, help="The records as they stand in the log, one a line.")
@click.option("-q", "--quiet", is_flag=True, help="No causes and remedies.")
@click.option("--color", "colour", type=click.Choice(get_args(Colour)), default="auto", show_default=True)
def command(
    target: Path | None,
    follow: bool,
    pids: tuple[int, ...],
    comm: str,
    glob: str,
    chosen: str | None,
    failures: bool,
    uids: tuple[int, ...],
    drivers: tuple[str, ...],
    least: str,
    since: str,
    wide: bool,
    summary: bool,
    count: int | None,
    everything: bool,
    as_json: bool,
    quiet: bool,
    colour: Colour,
) -> None:
    """Show what became of the copies in a mount.

    TARGET is a mount point or a log file; without it, the only mount there is. DISPATCH says whether
    the copy was dispatched to fusecopy, moved by the kernel (fallback), moved by the program
    (bypassed), or refused. SHARED is what is proven to share extents with the source; `?` where the
    backing cannot tell.
    """
    selection = Selection(
        frozenset(pids),
        comm,
        glob,
        _dispatches(chosen, failures),
        frozenset(uids),
        frozenset(drivers),
        bytes_of(least),
        _since(since, from_now=follow and not (everything or summary)),
    )
    stop = threading.Event() if follow else None
    with _ended_quietly(follow):
        log = find_log(target)
        if summary and count is None:
            stored = batches(log, since_mount=not everything, stop=stop)
            _show_summary(map(selection.of, stored), follow)
            return
        picked = _pick(lines(log, since_mount=not everything, stop=stop), selection, count)
        if summary:
            _show_summary(([line.record] for line in picked), follow)
        elif as_json:
            for line in picked:
                click.echo(line.text, nl=False)
        else:
            _show_copies(picked, quiet, use_colour(colour, sys.stdout), wide)


def _since(since: str, from_now: bool) -> datetime | None:
    """When what is shown begins; None for the beginning."""
    if since:
        return moment(since)
    return datetime.now().astimezone() if from_now else None


def find_log(target: Path | None) -> Path:
    """The log that `target` means: a file itself, or a mount point's. What the server still holds of it is
    written first, where it answers.

    Raises:
        UsageError: it is neither, or was not given and there is not exactly one mount.
        LogError: the mount does not tell.
    """
    at = mounts.resolved(str(target)) if target else only_mount(mounts.mounts())
    mount = mounts.at(at)
    if mount is None or mount.fstype != mounts.FSTYPE:
        if target is not None and not os.path.isdir(target):
            return target
        raise UsageError(
            f"{at} is not the root of a fusecopy mount that has a log",
            "Name the mount point, or the log file.",
        )
    told = running.of(mount)
    if told and told.lives() is False:
        return Path(os.fsdecode(told.log))
    try:
        return Path(asking.attributes(mount, "log", seconds=FLUSH_SECONDS)[0])
    except OSError as error:
        return _without_answer(at, told, error)


def _without_answer(at: str, told: running.Running | None, error: OSError) -> Path:
    if told is None:
        raise LogError(
            f"{at}: the mount does not say where its log is: {error.strerror}", "Name the log file instead."
        ) from error
    if isinstance(error, TimeoutError):
        say(f"fusecopy: {at}: the server does not answer; what it holds is not shown", sys.stderr)
    return Path(os.fsdecode(told.log))


def only_mount(table: Iterable[mounts.Mount]) -> str:
    """The mount point of the one mount of this user, or, for root, of any user where root has none. Raises
    UsageError."""
    ours = [mount for mount in table if mount.fstype == mounts.FSTYPE]
    me = os.geteuid()
    own = [mount for mount in ours if mount.owner[0] == me] or (ours if me == 0 else [])
    points = sorted({mount.mountpoint for mount in own})
    if not points:
        raise UsageError("there is no fusecopy mount of yours here", "Name a mount point or a log file.")
    if len(points) > 1:
        raise UsageError(f"there are several fusecopy mounts: {', '.join(points)}", "Name one of them.")
    return points[0]


def _dispatches(chosen: str | None, failures: bool) -> frozenset[str]:
    """What -e and -x choose. Raises UsageError."""
    if chosen is None:
        return frozenset(["fallback", "refused"] if failures else [])
    if failures:
        raise UsageError("-x and -e exclude each other", "-x means -e fallback,refused.")
    names = frozenset(chosen.split(","))
    if unknown := names - frozenset(DISPATCHES):
        raise UsageError(
            f"unknown dispatch: {', '.join(sorted(unknown))}", f"Choose from {','.join(DISPATCHES)}."
        )
    return names


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


def _pick(stored: Iterable[Line], selection: Selection, count: int | None) -> Iterator[Line]:
    """The lines that are wanted, up to so many copies and flows."""
    for line in stored:
        if not selection.wants(line.record):
            continue
        yield line
        if count is not None and isinstance(line.record, Copy | Flow):
            count -= 1
            if not count:
                return


class Layout(NamedTuple):
    """The columns that are shown, and how many characters a name of a file may have."""

    columns: list[Column]
    name: int


WIDE = Layout(COPIES, sys.maxsize)


def _layout(width: int) -> Layout:
    """What fits a terminal of so many columns."""
    columns = [column for column in COPIES if width >= NARROW or column.title not in LEFT_OUT]
    return Layout(columns, max(LEAST_NAME, width - sum(column.width + 1 for column in columns)))


def _show_copies(picked: Iterable[Line], quiet: bool, coloured: bool, wide: bool) -> None:
    # On a terminal a screen is the titles, the copies, and the line that the cursor is on.
    terminal = sys.stdout.isatty()
    width, height = shutil.get_terminal_size()
    page = max(1, height - 2) if terminal else sys.maxsize
    layout = _layout(width) if terminal and not wide else WIDE
    say(header(layout.columns))
    shown = 0
    mount: Header | None = None
    for line in picked:
        if line.record == mount:
            continue  # the same mount's, again at the head of its next file
        if isinstance(line.record, Header):
            mount = line.record
        for text in _texts(line.record, quiet, layout):
            if shown == page:
                say(header(layout.columns))
                shown = 0
            _say_painted(text, line.record) if coloured else say(text)
            shown += 1


def _say_painted(text: str, record: Record) -> None:
    colour = COLOURS.get(record.dispatch) if isinstance(record, Copy) else None
    click.secho(printable(text), fg=colour, color=True)


def _texts(record: Record, quiet: bool, layout: Layout) -> list[str]:
    """The lines that show one record; as the terminal has room."""
    match record:
        case Copy():
            return [_copy_row(record, layout), *([] if quiet else _explanation(record))]
        case Flow():
            return [_flow_row(record, layout)]
        case Tree():
            return [_tree_row(record, layout), *([] if quiet else _explanation(record))]
        case Header(passthrough=True):
            return [f"  {PASSTHROUGH}"]
        case Policy():
            return [f"  {record.time[11:19]} policy is now {record.policy}"]
        case Coherence():
            said = f"coherence is now {record.coherence}: {record.cause} {record.remedy}"
            return [f"  {record.time[11:19]} {said.rstrip()}"]
        case Note():
            return [f"  {record.time[11:19]} {record.text}"]
        case Lost():
            why = f": {printable(record.why)}" if record.why else ""
            return [f"  {record.count} records were lost here{why}"]
        case _:
            return []


def _copy_row(copy: Copy, layout: Layout) -> str:
    """The size of a copy of which nothing was copied is what was asked for."""
    if copy.copied is None:
        return _row(copy, layout, "?", copy.dispatch, copy.path, "?")
    unprovable = copy.shared is None and copy.copied
    shared = "?" if unprovable else percent(copy.shared or 0, copy.copied - copy.holes)
    return _row(copy, layout, size(copy.copied or copy.length), copy.dispatch, copy.path, shared)


def _flow_row(flow: Flow, layout: Layout) -> str:
    """Bytes written with no source in the mount: not known to be a copy, so it has no dispatch."""
    return _row(flow, layout, size(flow.requests.write_bytes), "-", "client", "-")


def _tree_row(tree: Tree, layout: Layout) -> str:
    """All of a tree's files, which have rows of their own too."""
    shared = "?" if tree.unprovable and not tree.shared else percent(tree.shared, tree.bytes)
    entries = f": {tree.files} files, {tree.directories} directories" if not tree.errno else ""
    return _row(tree, layout, size(tree.bytes), "-", "tree", "-" if tree.errno else shared, entries)


def _row(
    record: Copy | Flow | Tree,
    layout: Layout,
    moved: str,
    dispatch: str,
    path: str,
    shared: str,
    more: str = "",
) -> str:
    ms = milliseconds(record.duration_us)
    clock = record.time[11:19]
    pid, comm, name = str(record.pid), record.comm, middle_cut(record.dst + more, layout.name)
    cells = [clock, pid, comm, moved, dispatch, path, shared, ms, name]
    return row(layout.columns, cells[-len(layout.columns) :])


def _explanation(copy: Copy | Tree) -> list[str]:
    """Errno, cause and remedy, as far as they are known, indented."""
    at = copy.at if isinstance(copy, Tree) else ""
    why = ": ".join(part for part in (at, copy.errno, copy.cause) if part)
    text = printable(" ".join(part for part in (why, copy.remedy) if part))
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _show_summary(picked: Iterable[list[Record]], follow: bool) -> None:
    summary = Summary()
    gc.disable()  # records are in no cycle; looking for cycles takes an eighth of the time
    live = follow and sys.stdout.isatty()
    with _ended_quietly(follow):
        for records in picked:
            summary.add_all(records)
            if live:
                click.clear()
                _say_sums(summary)
    if not live:
        _say_sums(summary)


def _say_sums(summary: Summary) -> None:
    paths = {f"{dispatch:10} {path}": group for (dispatch, path), group in summary.by_path.items()}
    _show_sums(Column(f"{'DISPATCH':10} PATH", 26), {**paths, "total": summary.total})
    say()
    _show_sums(Column("COMM", 26), summary.by_program)
    if summary.flows:
        say()
        say(f"{summary.flows} flows of writes with no source in the mount")
    if summary.passthrough:
        say()
        say(PASSTHROUGH)
    if summary.lost:
        say()
        say(f"{summary.lost} records were lost and are not in these sums")


def _show_sums(name: Column, groups: dict[str, Group]) -> None:
    columns = [name, *SUMS]
    say(header(columns))
    for title, group in groups.items():
        say(row(columns, [title, *_sums(group)]))


def _sums(group: Group) -> list[str]:
    """A group's cells; a plus where some copies could not be measured and the sum is a minimum."""
    return [
        str(group.copies),
        size(group.asked),
        size(group.shared) + "+" * bool(group.unprovable),
        size(group.rewritten) + "+" * bool(group.unmeasured),
        str(group.requests),
    ]
