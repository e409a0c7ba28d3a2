"""Cloning a tree in a mount, by one request to its server (fusecopy.ioctls)."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from fusecopy import ioctls
from fusecopy.cli import progress
from fusecopy.copying import calls
from fusecopy.names import TEMPORARY


def clone(source: int, target: Path, how: str, shown: bool) -> ioctls.Answer:
    """Clone the open file or directory to the new name. Raises OSError where the server was not to be asked.

    Args:
        how: one of ioctls.HOWS.
        shown: tell on stderr how far it is.
    """
    with _marker(target.parent) as marker:
        return _asked(source, marker, target.name, how, shown)


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


def _asked(source: int, marker: int, name: str, how: str, shown: bool) -> ioctls.Answer:
    """The request, from this thread, so that a signal ends it; another thread asks how far it is."""
    calls.syncfs(source)  # what was written by mmap is with the kernel until then
    token = bytearray(ioctls.SECRET_BYTES)
    fcntl.ioctl(source, ioctls.SOURCE, token, True)
    data = bytearray(ioctls.ANSWER_BYTES)
    call = ioctls.TreeRequest(bytes(token), how, os.fsencode(name)).pack()
    data[: len(call)] = call
    with progress.shown(lambda: _done(marker, bytes(token))) if shown else nullcontext():
        fcntl.ioctl(marker, ioctls.TREE, data, True)
    return ioctls.Answer.unpack(bytes(data))


def _done(marker: int, token: bytes) -> tuple[int, int]:
    """How many entries and bytes."""
    data = bytearray(ioctls.Progress(token, 0, 0).pack())
    with suppress(OSError):  # the request's own error says it
        fcntl.ioctl(marker, ioctls.PROGRESS, data, True)
    done = ioctls.Progress.unpack(bytes(data))
    return done.entries, done.size
