"""Remove a file or a tree by descriptors and names."""

import errno
import os
import stat
from contextlib import suppress

from fusecopy.copying.entries import DIRECTORY


def remove(parent: int, name: bytes, directory: tuple[int, int]) -> None:
    """Remove a file, or a tree, such as an unfinished clone, whatever the modes in it. Follows no link.

    Args:
        directory: st_dev and st_ino of the tree's top. Another directory, which somebody may have moved to
            the name, is left alone.

    Raises:
        OSError: something could not be removed; ESTALE for another directory.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    stack = [(parent, name, *_emptied(parent, name, directory))]
    try:
        while stack:
            above, own, fd, subdirectories = stack[-1]
            if subdirectories:
                below = subdirectories.pop()
                stack.append((fd, below, *_emptied(fd, below)))
                continue
            os.rmdir(own, dir_fd=above)
            os.close(fd)
            stack.pop()
    finally:
        for _, _, fd, _ in stack:
            os.close(fd)


def _emptied(parent: int, name: bytes, directory: tuple[int, int] | None = None) -> tuple[int, list[bytes]]:
    """A directory, open, without what are no directories in it; and the names of those that are."""
    held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        st = os.fstat(held)
        if directory and directory != (st.st_dev, st.st_ino):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        with suppress(PermissionError):  # not ours; then its mode decides
            os.chmod(f"/proc/self/fd/{held}", stat.S_IRWXU)
        fd = os.open(f"/proc/self/fd/{held}", DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(held)
    subdirectories = []
    try:
        with os.scandir(fd) as listing:
            for entry in listing:
                if entry.is_dir(follow_symlinks=False):
                    subdirectories.append(os.fsencode(entry.name))
                else:
                    os.unlink(entry.name, dir_fd=fd)
    except BaseException:
        os.close(fd)
        raise
    return fd, subdirectories
