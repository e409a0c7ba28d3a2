"""Remove a file or a tree by descriptors and names."""

import os
import stat
from contextlib import suppress

from fusecopy.copying.entries import DIRECTORY


def remove(parent: int, name: bytes) -> None:
    """Remove a file or a tree, such as an unfinished clone, whatever the modes in it. Follows no link.

    Raises:
        OSError: something could not be removed.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    stack = [(parent, name, *_emptied(parent, name))]
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


def _emptied(parent: int, name: bytes) -> tuple[int, list[bytes]]:
    """A directory, open, without what are no directories in it; and the names of those that are."""
    held = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
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
