"""Giving what is finished its name: whole or not at all, and in the place of nothing."""

import errno
import os
import stat
from contextlib import suppress

import pyfuse3

from fusecopy.filesystem import kernel

NO_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What renameat2(2) says where the filesystem takes no flags (NFS; FUSE servers without RENAME2)."""


def place(directory: int, temporary: bytes, name: bytes) -> None:
    """Rename `temporary` to `name`, both in the directory open as `directory`.

    Where the filesystem has no RENAME_NOREPLACE, a file gets its name by a hard link; a directory, and a file
    where there are no hard links, takes the place of an empty one that was made just before. That one is seen
    for a moment; what others put into such a directory meanwhile is kept (ENOTEMPTY).

    Raises:
        OSError: EEXIST where there is something of that name, which stays as it is.
    """
    try:
        kernel.rename(directory, temporary, directory, name, pyfuse3.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in NO_FLAGS:
            raise
        if stat.S_ISDIR(os.stat(temporary, dir_fd=directory, follow_symlinks=False).st_mode):
            _replace_new_directory(directory, temporary, name)
        else:
            _place_file(directory, temporary, name)


def _place_file(directory: int, temporary: bytes, name: bytes) -> None:
    try:
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # EPERM and others: no hard links
        _replace_new_file(directory, temporary, name)
    else:
        os.unlink(temporary, dir_fd=directory)


def _replace_new_file(directory: int, temporary: bytes, name: bytes) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory))
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise


def _replace_new_directory(directory: int, temporary: bytes, name: bytes) -> None:
    os.mkdir(name, 0o700, dir_fd=directory)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            os.rmdir(name, dir_fd=directory)
        raise
