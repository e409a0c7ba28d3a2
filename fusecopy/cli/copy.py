"""fusecopy cp: copy one file in one way or not at all.

The three ways are those that the flags COPY_FR_COPY, COPY_FR_REFLINK and COPY_FR_DEDUP were to ask for; Linux
never took them in, and copy_file_range(2) still refuses every flag. Inside a mount of fusecopy the way is
announced to the server, which then copies; elsewhere fusecopy cp copies by itself.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import msgspec

from fusecopy import mounts
from fusecopy.cli.arguments import PATH, check_answers
from fusecopy.copying import errnos, ladder, records, refusal
from fusecopy.copying.sharing import prove, rewritten
from fusecopy.dispatch.records import Copy
from fusecopy.errors import FusecopyError, StrictError, UsageError
from fusecopy.names import COPY, HOW
from fusecopy.terminal import say

COMPARED = 1 << 20
"""Bytes compared at a time before a dedupe."""


class Files(NamedTuple):
    """The two open files. `length` is the source's size in bytes."""

    source: int
    destination: int
    length: int


class Done(NamedTuple):
    """What became of the copy, wherever it was carried. Bytes; None for what cannot be known."""

    copied: int
    paths: Mapping[str, int]
    shared: int | None
    rewritten: int | None


@click.command("cp")
@click.option("--how", type=click.Choice(list(ladder.HOWS)), required=True, help="How to copy it.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of a copy that succeeded.")
@click.argument("source", type=PATH)
@click.argument("destination", type=PATH)
def command(how: str, quiet: bool, source: Path, destination: Path) -> None:
    """Copy the file SOURCE to DESTINATION, a file or a directory, in one way or not at all.

    copy writes the bytes again and shares nothing. reflink shares all of them. dedupe changes no byte: it
    shares what DESTINATION holds already, if that is the same. Where reflink or dedupe is refused the
    status is 21, and a destination made for it is removed.
    """
    target = destination
    if destination.is_dir():
        target = destination / source.name
        check_answers(str(target))  # it may be a link, or mounted
    try:
        with _opened(source, target, how) as files:
            done = _carry(files, how, f"{source} -> {target}")
    except OSError as error:
        raise FusecopyError(f"{error.filename or target}: {error.strerror}") from error
    if not quiet:
        say(f"{target}: {_told(done)}")


@contextmanager
def _opened(source: Path, target: Path, how: str) -> Iterator[Files]:
    """Both files, open; the destination empty, but for dedupe. Raises OSError and FusecopyError."""
    for path in (source, target):
        # Opening a pipe would wait for its other end.
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a regular file", "Name regular files.")
    made = how != "dedupe" and not target.exists()
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = _open_target(target, made, stat.S_IMODE(os.fstat(reading).st_mode), how)
        try:
            yield _checked(reading, writing, how, f"{source} -> {target}")
        except BaseException:
            if made:
                target.unlink(missing_ok=True)
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _open_target(target: Path, made: bool, mode: int, how: str) -> int:
    """O_EXCL, so that what is taken away after a failure is what was made here."""
    if how == "dedupe":
        return os.open(target, os.O_RDWR | os.O_CLOEXEC)
    return os.open(target, os.O_WRONLY | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if made else 0), mode)


def _checked(reading: int, writing: int, how: str, names: str) -> Files:
    """Refuse what would lose data, then empty the destination, or see that dedupe has something to do."""
    one, other = os.fstat(reading), os.fstat(writing)
    files = Files(reading, writing, one.st_size)
    if os.path.samestat(one, other):
        raise UsageError(f"{names}: both are one file", "Name another destination.")
    if how != "dedupe":
        os.ftruncate(writing, 0)
    elif one.st_size != other.st_size:
        raise UsageError(
            f"{names}: {one.st_size} and {other.st_size} bytes", "dedupe takes files of the same size."
        )
    elif (at := _difference(files)) is not None:
        # The kernel compares too. This is for a mount on which copies were turned off by ENOSYS: there the
        # kernel answers the call by a copy of its own, which must not find anything to change.
        raise StrictError(f"{names}: they differ at byte {at}; nothing was changed")
    return files


def _difference(files: Files) -> int | None:
    for offset in range(0, files.length, COMPARED):
        one, other = (os.pread(fd, COMPARED, offset) for fd in files[:2])
        if one != other:
            pairs = enumerate(zip(one, other, strict=False))
            return offset + next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
    return None


def _carry(files: Files, how: str, names: str) -> Done:
    devices = {os.fstat(fd).st_dev for fd in files[:2]}
    if len(devices) == 1 and devices & {mount.device for mount in mounts.ours()}:
        return _carry_in_mount(files, how, names)
    return _carry_here(files, how, names)


def _carry_in_mount(files: Files, how: str, names: str) -> Done:
    """Announce each request and make it from the same thread; the server tells what became of them."""
    begun = time.monotonic_ns()
    copied = 0
    while copied < files.length:
        os.setxattr(files.destination, HOW, how.encode())
        try:
            count = os.copy_file_range(files.source, files.destination, files.length - copied, copied, copied)
        except OSError as error:
            told = _record(files, how, begun)
            code = told.errno if told and told.errno else errnos.name(error.errno or 0)
            _fail(how, f"{names}: {code}", copied, told.cause if told else "", told.remedy if told else "")
        if not count:
            break
        copied += count
    return _told_by_server(files, how, names, begun, copied)


def _told_by_server(files: Files, how: str, names: str, begun: int, copied: int) -> Done:
    told = _record(files, how, begun)
    if told:
        return Done(copied, told.paths, told.shared, told.rewritten)
    if copied and how != "copy":
        # The kernel has spliced: it asks no more after ENOSYS, and the announcement was never read.
        cause, remedy = (
            "the kernel did not ask the mount's server.",
            "Unmount and mount again: after an ENOSYS the kernel never asks that mount again.",
        )
        _fail(how, names, 0, cause, remedy)
    return Done(copied, {"kernel-splice": copied} if copied else {}, 0, copied)


def _record(files: Files, how: str, begun: int) -> Copy | None:
    """What the server tells of this copy; None where its last record is of an earlier one."""
    try:
        told = msgspec.json.decode(os.getxattr(files.destination, COPY), type=Copy)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return None
        raise
    return told if told.mono_ns >= begun and told.asked == f"how={how}" else None


def _carry_here(files: Files, how: str, names: str) -> Done:
    """Carry it by our own calls; each goes as far as one budget allows."""
    attempts: list[records.Attempt] = []
    copied, complete = 0, False
    while not complete:
        rest = records.Request(files.source, files.destination, copied, copied, files.length - copied)
        outcome = ladder.carry(rest, ladder.HOWS[how])
        attempts += outcome.attempts
        copied, complete = copied + outcome.copied, outcome.complete
        if outcome.errno:
            reason = refusal.explain_outcome(rest, outcome)
            cause, remedy = (reason.cause, reason.remedy) if reason else ("", "")
            _fail(how, f"{names}: {errnos.name(outcome.errno)}", copied, cause, remedy)
    return _proven(files, records.Outcome(tuple(attempts), copied, 0, complete=True))


def _proven(files: Files, outcome: records.Outcome) -> Done:
    request = records.Request(files.source, files.destination, 0, 0, files.length)
    sharing = prove(request, outcome)
    shared = None if sharing.unprovable else sharing.shared
    paths = {str(path): count for path, count in outcome.carried().items()}
    return Done(outcome.copied, paths, shared, rewritten(outcome.copied, sharing))


def _fail(how: str, what: str, copied: int, cause: str | None, remedy: str | None) -> NoReturn:
    parts = [what, f"after {copied} bytes" if copied else "", cause or ""]
    error = FusecopyError if how == "copy" else StrictError
    raise error(": ".join(part for part in parts if part), remedy or "")


def _told(done: Done) -> str:
    """What carried it and how much is shared, in one line."""
    if not done.copied:
        return "0 bytes, nothing to copy"
    by = ", ".join(path if len(done.paths) == 1 else f"{path} {count}" for path, count in done.paths.items())
    shared = "sharing unprovable" if done.shared is None else f"{done.shared} shared"
    again = "?" if done.rewritten is None else str(done.rewritten)
    return f"{done.copied} bytes by {by}: {shared}, {again} rewritten"
