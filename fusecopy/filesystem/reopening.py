"""An inode whose descriptor was closed, found again by its name."""

import errno
import os

from fusecopy.filesystem import kernel
from fusecopy.filesystem.inode import Inode


def open_by_names(inode: Inode) -> int:
    """Open with O_PATH by the names last seen, down from the nearest ancestor that is open; the root is.

    Raises:
        OSError: ESTALE where the names lead to nothing, or to another file by now.
    """
    steps = [inode]
    while (parent := steps[-1].parent) is not None and parent.descriptor < 0:
        steps.append(parent)
    assert parent is not None, "the root is never closed"
    descriptor = _open_same(steps.pop(), parent.descriptor)
    while steps:
        directory = descriptor
        try:
            descriptor = _open_same(steps.pop(), directory)
        finally:
            os.close(directory)
    return descriptor


def _open_same(inode: Inode, directory: int) -> int:
    try:
        descriptor = os.open(inode.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from error
    st = os.fstat(descriptor)
    same = (st.st_dev, st.st_ino) == (inode.device, inode.ino)
    if not same or (inode.handle is not None and inode.handle != kernel.file_handle(descriptor)):
        os.close(descriptor)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return descriptor
