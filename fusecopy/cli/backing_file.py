"""A file as its filesystem has it: a file of a fusecopy mount is looked at through the backing.

FUSE answers FIEMAP with EOPNOTSUPP before any server is asked (fs/ioctl.c, Linux up to 7.2).
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusecopy import mounts
from fusecopy.errors import FusecopyError, NotSharedError, UsageError
from fusecopy.names import BACKING


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor, for reading, of the file `path` itself or of the one behind it in the backing.

    What was written through the mount and is still in the kernel's cache is sent to the backing first.

    Raises:
        UsageError: it is not a regular file.
        NotSharedError: it lies on a FUSE mount through which nothing can be known of its extents.
        FusecopyError: it cannot be opened, or the backing's file is not the same one.
    """
    with _open(path, os.O_NONBLOCK) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"{path} is not a regular file", "Name regular files.")
        mount = holding(path, os.fstat(fd).st_dev)
        if mount is None:
            yield fd
            return
        os.fsync(fd)
        with _open(behind(path, mount), os.O_NOFOLLOW) as backing:
            _check_same(path, fd, backing)
            yield backing


def holding(path: Path, device: int) -> mounts.Mount | None:
    """The FUSE mount that the file `path` on `device` lies in, the innermost where it is bound to several."""
    resolved = Path(os.path.realpath(path))
    around = [
        mount
        for mount in mounts.mounts()
        if mount.device == device and mount.is_fuse and resolved.is_relative_to(mount.mountpoint)
    ]
    return max(around, key=lambda mount: len(mount.mountpoint), default=None)


def behind(path: Path, mount: mounts.Mount) -> Path:
    """Where the file `path` of a FUSE mount lies in the backing. Raises NotSharedError as `backing_of`."""
    inside = Path(os.path.realpath(path)).relative_to(mount.mountpoint)
    return backing_of(path, mount) / mount.root.lstrip("/") / inside


def backing_of(path: Path, mount: mounts.Mount) -> Path:
    """The backing of the FUSE mount that the file `path` lies in.

    Raises:
        NotSharedError: the mount is another program's, or does not say what its backing is.
    """
    if mount.fstype != mounts.FSTYPE:
        raise NotSharedError(
            f"{path} lies on {mount.fstype}: FUSE has no FIEMAP, so nothing can be known of its extents "
            "there: unprovable",
            "Verify the files in the directory that is served there, if there is one.",
        )
    try:
        return Path(os.fsdecode(os.getxattr(mount.mountpoint, BACKING)))
    except OSError as error:
        raise NotSharedError(
            f"{path}: the mount {mount.mountpoint} does not say what its backing is ({error.strerror}):"
            " unprovable",
            "Name the file by the mount point that fusecopy was given (fusecopy list).",
        ) from error


@contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    except OSError as error:
        raise FusecopyError(
            f"{path} cannot be opened: {error.strerror}", "Name a file that you may read."
        ) from error
    try:
        yield fd
    finally:
        os.close(fd)


def _check_same(path: Path, fd: int, backing: int) -> None:
    """The inode numbers of a mount may be its own, so size and times stand for the file's identity."""
    one, other = os.fstat(fd), os.fstat(backing)
    if (one.st_size, one.st_mtime_ns, one.st_ctime_ns) != (
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
    ):
        raise FusecopyError(
            f"{path} and the file behind it in the backing differ in size or time",
            "It was changed just now, or something is mounted over it; try again.",
        )
