"""fusecopy clone: clone a file or a whole tree, in a mount by its server, elsewhere by ourselves."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fusecopy import ioctls, mounts
from fusecopy.cli import clone_natively, clone_served
from fusecopy.cli.arguments import PATH
from fusecopy.copying import errnos
from fusecopy.errors import FusecopyError, StrictError, UsageError
from fusecopy.terminal import say


@click.command("clone")
@click.option("-r", "--recursive", is_flag=True, help="Clone directories with all that is in them.")
@click.option("--how", type=click.Choice(ioctls.HOWS[1:]), default=None, help="Copy data in this way only.")
@click.option(
    "--progress/--no-progress", default=None, help="Show how far it is; by default on a terminal only."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of a clone that succeeded.")
@click.argument("source", type=PATH)
@click.argument("destination", type=PATH)
def command(
    recursive: bool, how: str | None, progress: bool | None, quiet: bool, source: Path, destination: Path
) -> None:
    """Clone SOURCE, a file or with -r a directory, to DESTINATION: in a mount by one request to its server,
    elsewhere on one filesystem.

    All is kept as by cp -a, as far as you may: owners, modes, times, extended attributes, ACLs, hard
    links, holes, symbolic links, special files. DESTINATION must be new; in an existing directory SOURCE's
    own name is made. It appears when it is complete; after an error or an interruption nothing is left.
    A mount point below SOURCE is an error. The mount's policy says how data is copied; with
    --how reflink, in a strict mount, and outside of mounts unless --how copy is given, the status is 21
    where a reflink is refused.
    """
    target = _target(source, destination)
    names = f"{source} -> {target}"
    shown = sys.stderr.isatty() if progress is None else progress
    try:
        with _opened(source, recursive) as reading:
            by = clone_served if _check(reading, target, names) else clone_natively
            answer = by.clone(reading, target, how or "", shown)
    except OSError as error:
        raise _failed(error, names) from error
    if answer.errno == errno.EINTR:
        raise _interrupted(names)
    if answer.errno:
        raise _refused(answer, names)
    if not quiet:
        say(f"{target}: {_told(answer)}")


def _target(source: Path, destination: Path) -> Path:
    """As cp has it: in an existing directory the source's own name."""
    if not destination.is_dir():
        return destination
    return destination / os.path.basename(os.path.abspath(source))


@contextmanager
def _opened(source: Path, recursive: bool) -> Iterator[int]:
    """The source, open for reading. Nothing else is opened, because to open a fifo or a device acts on it."""
    mode = source.lstat().st_mode
    if stat.S_ISDIR(mode) and not recursive:
        raise UsageError(f"{source} is a directory", "Clone it with -r.")
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise UsageError(f"{source} is neither a regular file nor a directory", "Copy it with cp -a.")
    fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _check(source: int, target: Path, names: str) -> bool:
    """Whether a server is to be asked. What is known before is said here, for the sake of the words."""
    devices = {mount.device for mount in mounts.ours()}
    one, other = os.fstat(source).st_dev, target.parent.stat().st_dev
    if one != other and {one, other} & devices:
        raise UsageError(f"{names}: they are not in one mount", "Clone within one mount of fusecopy.")
    if os.path.lexists(target):
        raise FusecopyError(f"{names}: {target} exists already", "Name a new destination.")
    if any(_is(source, path) for path in Path(os.path.realpath(target)).parents):
        raise UsageError(f"{names}: the destination lies in the source", "Name one outside of it.")
    return one in devices


def _is(source: int, path: Path) -> bool:
    """Whether a directory is the open one. One that may not be looked at is not the source, or the server, or
    the tree that is cloned, finds out."""
    try:
        return os.path.samestat(os.fstat(source), path.stat())
    except PermissionError:
        return False


def _failed(error: OSError, names: str) -> FusecopyError:
    """What the request itself, or opening for it, was answered."""
    if error.errno in (errno.ENOTTY, errno.EACCES) and error.filename is None:
        return UsageError(
            f"{names}: you may not ask this mount's server", "Ask as the mount's owner, or as root."
        )
    if error.errno == errno.EINTR:
        return _interrupted(names)
    if error.errno == errno.EBUSY:
        return FusecopyError(
            f"{names}: the server is cloning as many trees as it can at a time", "Try again later."
        )
    return FusecopyError(f"{error.filename or names}: {error.strerror}")


def _interrupted(names: str) -> FusecopyError:
    return FusecopyError(f"{names}: interrupted; nothing of it is left")


def _refused(answer: ioctls.Answer, names: str) -> FusecopyError:
    at = os.fsdecode(answer.at)
    code = f"{errnos.name(answer.errno)}: {answer.cause or os.strerror(answer.errno)}"
    error = StrictError if answer.unshared else FusecopyError
    return error(": ".join(part for part in (names, at, code) if part), answer.remedy)


def _told(answer: ioctls.Answer) -> str:
    """What was cloned and how much is shared, in one line."""
    kinds = ("files", "directories", "links", "others")
    counts = [f"{count} {kind}" for count, kind in zip(answer[2:6], kinds, strict=True) if count]
    unknown = f", {answer.unprovable} files unprovable" if answer.unprovable else ""
    sharing = f"{answer.size} bytes: {answer.shared} shared, {answer.rewritten} rewritten{unknown}"
    return f"{', '.join(counts)}, {sharing}"
