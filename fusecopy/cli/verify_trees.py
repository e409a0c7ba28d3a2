"""fusecopy verify of many files: whole trees, and lists of pairs."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import click
import msgspec

from fusecopy import mounts
from fusecopy.cli import backing_file
from fusecopy.cli.arguments import check_answers
from fusecopy.copying import calls
from fusecopy.copying.comparison import Compared, State, compare_files, compare_trees
from fusecopy.dispatch.records import encode_path
from fusecopy.errors import FusecopyError, NotSharedError, UsageError
from fusecopy.terminal import say
from fusecopy.views.format import Column, header, percent, row

COLUMNS = [
    Column("STATE", 10),
    Column("SIZE", 14, number=True),
    Column("SHARED", 14, number=True),
    Column("REWRITTEN", 14, number=True),
    Column("FILE", 0),
]

SHARING = frozenset({State.SHARED, State.SAME})
"""States of files that take no storage of their own."""


class Saved(msgspec.Struct):
    """What an earlier run with --json said of a file; its last line, the sums, has no path."""

    path: str | None = None
    path_b64: str | None = None
    state: str = ""
    shared: int = 0


def trees(a: Path, b: Path) -> Iterator[Compared]:
    """Compare two directories; those in a mount of fusecopy through its backing.

    Raises:
        UsageError: one is no directory, or both are one.
        NotSharedError: one lies on a FUSE mount through which nothing can be known.
    """
    _check_below(a, b)
    with _directory(a) as source, _directory(b) as destination:
        if os.path.sameopenfile(source, destination):
            raise UsageError(f"{a} and {b} are one directory", "Name two.")
        yield from compare_trees(source, destination)


def _check_below(*directories: Path) -> None:
    """That what is mounted in them answers, too. Raises MountPointError."""
    roots = [mounts.resolved(str(directory)) for directory in directories]
    for mount in mounts.mounts():
        if not mount.is_local and any(Path(mount.mountpoint).is_relative_to(root) for root in roots):
            check_answers(mount.mountpoint)


def pairs(list_: Path) -> Iterator[Compared]:
    """Compare the files that a list names in pairs, each name ended by NUL; `-` is standard input.

    Raises:
        UsageError: the list cannot be read, or names a file without another.
    """
    try:
        text = sys.stdin.buffer.read() if str(list_) == "-" else list_.read_bytes()
    except OSError as error:
        raise UsageError(f"{list_}: the list of pairs cannot be read: {error.strerror}") from error
    names = text.split(b"\0")
    if names.pop() or len(names) % 2 or not all(names):
        raise UsageError(
            f"{list_} does not name files in pairs, each name ended by NUL",
            "Write A, NUL, B, NUL for each pair, as printf '%s\\0' A B does.",
        )
    check = cache(check_answers)  # once for each directory
    for a, b in zip(names[::2], names[1::2], strict=True):
        one, other = Path(os.fsdecode(a)), Path(os.fsdecode(b))
        for file in (one, other):
            check(str(file.parent))
        yield _pair(one, other)


def show(compared: Iterable[Compared], as_json: bool, everything: bool, saved: dict[str, int] | None) -> None:
    """Print what was found and the sums.

    Args:
        everything: files that are wholly shared too.
        saved: shared bytes by path of an earlier run, to judge by.

    Raises:
        NotSharedError: some file is not wholly shared, or shares less than it did.
    """
    states: Counter[State] = Counter()
    sums: Counter[str] = Counter()
    less = 0
    if not as_json:
        say(header(COLUMNS).rstrip())
    for file in compared:
        fell = saved is not None and _shares_less(file, saved)
        states[file.state] += 1
        if file.state is not State.MISSING:
            sums.update(_figures(file))
        less += fell
        if as_json:
            click.echo(json.dumps(_as_object(file)))
        elif everything or (fell if saved is not None else file.state not in SHARING):
            say(_line(file))
    if as_json:
        counts = {str(state): count for state, count in states.items()}
        click.echo(json.dumps({"files": counts, **sums}))
    else:
        _show_sums(states, sums)
    _judge(states, less if saved is not None else None)


def load(path: Path) -> dict[str, int]:
    """Shared bytes by path, of an earlier run with --json.

    Raises:
        UsageError: it cannot be read, or is something else.
    """
    try:
        found = msgspec.json.Decoder(Saved).decode_lines(path.read_bytes())
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not what an earlier verify -r --json printed: {error}",
            "Save one: verify -r --json A B >FILE.",
        ) from error
    return {file.path_b64 or file.path: file.shared for file in found if file.path is not None}


def _shares_less(file: Compared, saved: dict[str, int]) -> bool:
    path, path_b64 = encode_path(file.path)
    if file.state is State.SAME:
        return False
    return saved.get(path_b64 or path, 0) > (file.sharing.shared if file.sharing else 0)


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    """A descriptor of a directory as its filesystem has it, all that was written there sent to it before."""
    with ExitStack() as stack:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            mount = backing_file.holding(path, os.fstat(fd).st_dev)
            if mount:
                calls.syncfs(fd)
                fd = os.open(backing_file.behind(path, mount), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be opened as a directory: {error.strerror}", "With -r name two directories."
            ) from error
        yield fd


def _pair(a: Path, b: Path) -> Compared:
    name = os.fsencode(b)
    try:
        with backing_file.opened(a) as source, backing_file.opened(b) as destination:
            return compare_files(source, destination, name)
    except FusecopyError as error:
        return Compared(name, State.UNREADABLE, reason=error.message)
    except OSError as error:
        return Compared(name, State.UNREADABLE, reason=os.strerror(error.errno or 0))


def _figures(file: Compared) -> dict[str, int]:
    sharing = file.sharing
    return {
        "size": file.size,
        "shared": sharing.shared if sharing else 0,
        "rewritten": file.rewritten,
        "unprovable": sharing.unprovable if sharing else 0,
        "holes": sharing.holes if sharing else 0,
    }


def _as_object(file: Compared) -> dict[str, object]:
    path, path_b64 = encode_path(file.path)
    named: dict[str, object] = {"path": path} if path_b64 is None else {"path": path, "path_b64": path_b64}
    return {
        **named,
        "state": str(file.state),
        **_figures(file),
        **({"reason": file.reason} if file.reason else {}),
    }


def _line(file: Compared) -> str:
    figures = _figures(file)
    name = os.fsdecode(file.path) + (f": {file.reason}" if file.reason else "")
    return row(
        COLUMNS, [str(file.state), *(str(figures[key]) for key in ("size", "shared", "rewritten")), name]
    )


def _show_sums(states: Counter[State], sums: Counter[str]) -> None:
    stored = sums["size"] - sums["holes"]
    files = ", ".join(f"{states[state]} {state}" for state in State if states[state])
    say(f"{states.total()} files: {files or 'none'}")
    say(
        f"{sums['shared']} of {stored} bytes shared ({percent(sums['shared'], stored)}), "
        f"{sums['rewritten']} rewritten, {sums['unprovable']} unprovable, {sums['holes']} in holes"
    )


def _judge(states: Counter[State], less: int | None) -> None:
    if less is not None:
        if less:
            raise NotSharedError(f"{less} files share less than they did", "The lines above name them.")
        return
    others = states.total() - sum(states[state] for state in SHARING)
    if others:
        raise NotSharedError(
            f"{others} of {states.total()} files are not wholly shared",
            "Where contents are equal, fusecopy cp --how dedupe A B shares them.",
        )
