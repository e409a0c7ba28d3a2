"""fusecopy explain: the whole story of one copy."""

import errno
import os
import textwrap
from pathlib import Path

import click
import msgspec

from fusecopy import asking, mounts
from fusecopy.cli import backing_file
from fusecopy.cli.arguments import NAME, check_answers
from fusecopy.cli.finding import find_log
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Flow, Header, decode_path
from fusecopy.errors import FusecopyError, LogError, UsageError
from fusecopy.explaining.evidence import look_up
from fusecopy.explaining.story import Line, tell
from fusecopy.names import COPY
from fusecopy.terminal import printable, say

LABEL = 10
WIDTH = 79


@click.command()
@click.argument("target", type=NAME)
@click.argument("seq", required=False, type=click.IntRange(min=1))
@click.option("--log", "is_log", is_flag=True, help="TARGET is a log file.")
def command(target: str, seq: int | None, is_log: bool) -> None:
    """Tell the whole story of one copy: what was asked, how it was copied, or what refused it and why.

    TARGET is a file in a mount, and the last copy into it is meant; or a mount point or, with --log, a log
    file, and SEQ the number of the copy in the newest mount's log (fusecopy log --json).
    """
    if seq is not None and not is_log:
        copy, backing = _of_log(find_log(target), seq)
    else:
        check_answers(target)
        copy, backing = _of_log(Path(target), seq) if seq is not None else _of_file(Path(target), is_log)
    for line in tell(copy, look_up(copy, backing)):
        for text in _wrapped(line):
            say(text)


def _of_log(path: Path, seq: int) -> tuple[Copy, Path]:
    """The copy with that number, and the backing of its mount.

    Raises:
        LogError: there is none, or the log cannot be read.
    """
    backing = ""
    for record in current(path):
        match record:
            case Header():
                backing = os.fsdecode(decode_path(record.backing, record.backing_b64))
            case Copy(seq=number) if number == seq:
                return record, Path(backing)
            case Flow(seq=number) if number == seq:
                raise LogError(
                    f"{path}: number {seq} is a flow of writes into {record.dst}",
                    "No source of it was seen in the mount, so it is not known to be a copy.",
                )
    raise LogError(
        f"{path}: the newest mount has no copy {seq}", "fusecopy log --json shows the numbers (seq)."
    )


def _of_file(path: Path, is_log: bool) -> tuple[Copy, Path]:
    """The last copy into a file of a mount, and its backing. Raises UsageError where several may be meant."""
    if is_log or (path.is_dir() and mounts.at(mounts.resolved(str(path)))):
        raise UsageError(f"{path} has many copies", "Give the number of one: fusecopy explain TARGET SEQ.")
    try:
        told, device = asking.within(
            asking.SECONDS,
            lambda: (os.getxattr(path, COPY), os.stat(path).st_dev),
            mounts.of(os.fsencode(mounts.resolved(str(path)))),
        )
        mount = backing_file.holding(path, device)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise FusecopyError(f"{path}: {error.strerror}", "Name a file in a fusecopy mount.") from error
        raise FusecopyError(
            f"{path}: no copy into it is remembered",
            "Name a file in a fusecopy mount, into which it was copied since the mount began. With"
            " passthrough only copies that were asked of the server are remembered.",
        ) from error
    if mount is None:
        raise FusecopyError(f"{path}: its mount is not in this mount namespace")
    return msgspec.json.decode(told, type=Copy), backing_file.backing_of(path, mount)


def _wrapped(line: Line) -> list[str]:
    start = f"{line.label:{LABEL}} "
    indent = " " * len(start)
    return textwrap.wrap(
        printable(line.text), WIDTH, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False
    )
