"""Opening and creating regular files, as the native lane does it by itself (opening.c)."""

import os
from dataclasses import dataclass

from fusecopy.native._native import ffi, lib


@dataclass(frozen=True, slots=True)
class Opening:
    """How files are opened.

    Attributes:
        noatime: reading leaves the backing's access times alone, where the server may do so.
        noflush: closing a file of the backing's filesystem reports nothing.
        keep_cache: pages that the kernel knows from before are still right.
        passthrough: the kernel may read and write files by itself.
        traces_ioctls: what it refuses by itself is seen.
    """

    noatime: bool
    noflush: bool
    keep_cache: bool
    passthrough: bool
    traces_ioctls: bool


def begin(how: Opening, root: int, filesystem: int) -> None:
    """Open so from now on, below the directory open as `root` on a filesystem of this type (statfs(2))."""
    c = lib.fusecopy_get_opening()
    c.noatime, c.noflush, c.keep_cache = how.noatime, how.noflush, how.keep_cache
    c.passthrough, c.traces_ioctls = how.passthrough, how.traces_ioctls
    c.uid, c.gid = os.geteuid(), os.getegid()
    c.is_root = c.uid == 0
    c.device, c.filesystem = os.fstat(root).st_dev, filesystem


def regular(descriptor: int, flags: int) -> int:
    """Open a regular file by an O_PATH descriptor of it; without O_NOATIME where that is not allowed, with
    O_APPEND, where it is among `flags`, only if there is no other way (chattr +a). EINVAL of all else,
    because to open a fifo or a device acts on it."""
    return _check(lib.fusecopy_open_regular(descriptor, flags))


def create(directory: int, name: bytes | None, flags: int, mode: int, umask: int) -> tuple[int, int]:
    """Create a regular file with this umask, which the thread keeps; without a name where that is None.
    Returns a descriptor opened with `flags` (open(2)) and one of O_PATH."""
    found = ffi.new("int *")
    fd = lib.fusecopy_create(directory, ffi.NULL if name is None else name, flags, mode, umask, found)
    return _check(fd), found[0]


def set_umask(mask: int) -> None:
    """Give this thread, and those that it starts, a umask; other threads keep theirs."""
    _check(lib.fusecopy_umask(mask))


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
