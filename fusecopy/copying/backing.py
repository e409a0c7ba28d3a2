"""What a backing directory can do: measured on unnamed files in it, never guessed from a name."""

import errno
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fusecopy.copying import calls, filesystems
from fusecopy.errors import BackingError


@dataclass(frozen=True, slots=True)
class Backing:
    """A directory's filesystem. None stands for what could not be measured as the directory takes no files.

    Attributes:
        filesystem: the kernel's name of it ("btrfs"), or "unknown".
        block_size: bytes; what a clone's offsets must be multiples of.
        reflink: FICLONERANGE works from one file to another here.
        fiemap: FIEMAP answers; whether that proves anything calls.gives_places tells.
        holes: SEEK_HOLE finds a hole.
        readonly: mounted read-only.
    """

    filesystem: str
    block_size: int
    reflink: bool | None
    fiemap: bool | None
    holes: bool | None
    readonly: bool


def measure(directory: str | os.PathLike[str]) -> Backing:
    """Look at a directory. Leaves nothing behind in it.

    Raises:
        BackingError: it does not exist, is no directory, or cannot be entered.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BackingError(
            f"The backing directory {os.fspath(directory)} cannot be opened: {error.strerror}.",
            "Give an existing directory that you may read.",
        ) from error
    try:
        return _measure(fd)
    finally:
        os.close(fd)


def _measure(directory: int) -> Backing:
    block = calls.block_size(directory)
    readonly = bool(os.fstatvfs(directory).f_flag & os.ST_RDONLY)
    reflink, fiemap, holes = _try_out(directory, block)
    return Backing(filesystems.mount_of(directory).name, block, reflink, fiemap, holes, readonly)


def _try_out(directory: int, block: int) -> tuple[bool | None, bool | None, bool | None]:
    try:
        with unnamed(directory) as one, unnamed(directory) as other:
            os.pwrite(one, b"x" * block, 0)
            return _clones(one, other, block), _maps(one, block), _has_holes(one, block)
    except OSError:
        return None, None, None


@contextmanager
def unnamed(directory: int) -> Iterator[int]:
    """A file without a name, open for reading and writing; it goes with its descriptor, however we end.

    Raises:
        OSError: the directory takes no files.
    """
    here = f"/proc/self/fd/{directory}"
    try:
        fd = os.open(here, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
        fd = _unlinked(here)
    try:
        yield fd
    finally:
        os.close(fd)


def _unlinked(directory: str) -> int:
    """For filesystems without O_TMPFILE. No signal comes between making the name and taking it away."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        fd, path = tempfile.mkstemp(prefix=".fusecopy-", dir=directory)
        os.unlink(path)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return fd


def _clones(one: int, other: int, length: int) -> bool:
    return _supported(lambda: calls.clone_range(one, 0, length, other, 0))


def _maps(fd: int, length: int) -> bool:
    return _supported(lambda: calls.fiemap(fd, 0, length, 0))


def _supported(call: Callable[[], object]) -> bool:
    """Whether a call works. An error that says nothing about support (no space) goes on to the caller."""
    try:
        call()
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EINVAL, errno.EXDEV):
            raise
        return False
    return True


def _has_holes(fd: int, block: int) -> bool:
    """Whether a hole in the middle of a file is found; where holes are not known there is one at its end."""
    os.ftruncate(fd, 64 * block)
    try:
        return os.lseek(fd, 0, os.SEEK_HOLE) < 64 * block
    except OSError:
        return False
