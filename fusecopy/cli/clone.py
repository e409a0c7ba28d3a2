"""fusecopy clone: clone a file or a whole tree in a mount by one request to its server (fusecopy.ioctls)."""

import errno
import fcntl
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from fusecopy import ioctls
from fusecopy.cli.arguments import PATH
from fusecopy.copying import calls, errnos
from fusecopy.errors import FusecopyError, StrictError, UsageError
from fusecopy.names import TEMPORARY
from fusecopy.terminal import say
from fusecopy.views.format import size

PROGRESS_SECONDS = 0.2
ERASE_LINE = "\r\x1b[K"


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
    """Clone SOURCE, a file or with -r a directory, to DESTINATION in the same mount, by one request.

    All is kept as by cp -a, as far as you may: owners, modes, times, extended attributes, ACLs, hard
    links, holes, symbolic links, special files. DESTINATION must be new; in an existing directory SOURCE's
    own name is made. It appears when it is complete; after an error or an interruption nothing is left.
    A mount point below the backing is an error. The mount's policy says how data is copied; with
    --how reflink, or in a strict mount, the status is 21 where a reflink is refused.
    """
    target = _target(source, destination)
    names = f"{source} -> {target}"
    shown = sys.stderr.isatty() if progress is None else progress
    try:
        with _opened(source, recursive) as reading:
            _check(reading, target, names)
            with _marker(target.parent) as marker:
                answer = _asked(reading, marker, target.name, how or "", shown)
    except OSError as error:
        raise _failed(error, names) from error
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


@contextmanager
def _marker(directory: Path) -> Iterator[int]:
    """A new file, open for writing: what shows the server that one may be made there."""
    path = directory / f"{TEMPORARY}{os.urandom(8).hex()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
        path.unlink(missing_ok=True)


def _check(source: int, target: Path, names: str) -> None:
    """What is known before the server is asked, for the sake of the words; it checks by itself."""
    if os.fstat(source).st_dev != target.parent.stat().st_dev:
        raise UsageError(f"{names}: they are not in one mount", "Clone within one mount of fusecopy.")
    if os.path.lexists(target):
        raise FusecopyError(f"{names}: {target} exists already", "Name a new destination.")
    above = Path(os.path.realpath(target)).parents
    if any(os.path.samestat(os.fstat(source), os.stat(one)) for one in above):
        raise UsageError(f"{names}: the destination lies in the source", "Name one outside of it.")


def _asked(source: int, marker: int, name: str, how: str, shown: bool) -> ioctls.Answer:
    """The request, from this thread, so that a signal ends it; another thread asks how far it is."""
    calls.syncfs(source)  # what was written by mmap is with the kernel until then
    token = bytearray(ioctls.SECRET_BYTES)
    fcntl.ioctl(source, ioctls.SOURCE, token, True)
    data = bytearray(ioctls.ANSWER_BYTES)
    call = ioctls.TreeRequest(bytes(token), how, os.fsencode(name)).pack()
    data[: len(call)] = call
    with _progress(marker, bytes(token), shown):
        fcntl.ioctl(marker, ioctls.TREE, data, True)
    return ioctls.Answer.unpack(bytes(data))


@contextmanager
def _progress(marker: int, token: bytes, shown: bool) -> Iterator[None]:
    """Tell on stderr how far the request is while the context lasts."""
    if not shown:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_tell, args=(marker, token, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        click.echo(ERASE_LINE, nl=False, err=True)


def _tell(marker: int, token: bytes, ended: threading.Event) -> None:
    while not ended.wait(PROGRESS_SECONDS):
        data = bytearray(ioctls.Progress(token, 0, 0).pack())
        with suppress(OSError):  # the request's own error says it
            fcntl.ioctl(marker, ioctls.PROGRESS, data, True)
        done = ioctls.Progress.unpack(bytes(data))
        click.echo(f"{ERASE_LINE}{done.entries} entries, {size(done.size)}", nl=False, err=True)


def _failed(error: OSError, names: str) -> FusecopyError:
    """What the request itself, or opening for it, was answered."""
    if error.errno in (errno.ENOTTY, errno.EACCES) and error.filename is None:
        return UsageError(
            f"{names}: this is not a fusecopy mount, or not one that you may ask",
            "Elsewhere cp -a --reflink=always clones.",
        )
    if error.errno == errno.EINTR:
        return FusecopyError(f"{names}: interrupted; nothing of it is left")
    if error.errno == errno.EBUSY:
        return FusecopyError(
            f"{names}: the server is cloning as many trees as it can at a time", "Try again later."
        )
    return FusecopyError(f"{error.filename or names}: {error.strerror}")


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
