"""Giving what is finished its name: whole or not at all, and in the place of nothing."""

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress

from fusecopy.copying import calls
from fusecopy.copying.removal import remove
from fusecopy.copying.tree import Tree
from fusecopy.names import TEMPORARY

NO_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What renameat2(2) says where the filesystem takes no flags (NFS; FUSE servers without RENAME2)."""


def build_placed(
    tree: Tree, source: int, directory: int, name: bytes, left_behind: Callable[[bytes, OSError], None]
) -> None:
    """Build a tree below a hidden name in the open `directory`, and give it its own when all is done: it is
    there whole or not at all. Only where the process is killed meanwhile the hidden name stays behind.

    Args:
        source: an open file or directory.
        left_behind: told of the hidden name, if that could not be removed after an error, and why.

    Raises:
        TreeError: what could not be cloned, and why.
        OSError: EEXIST where there is something of that name.
    """
    temporary = os.fsencode(TEMPORARY + secrets.token_hex(8))
    try:
        tree.build(source, directory, temporary)
        place(directory, temporary, name)
    except BaseException:
        _remove(tree, directory, temporary, left_behind)
        raise


def _remove(tree: Tree, directory: int, name: bytes, left_behind: Callable[[bytes, OSError], None]) -> None:
    try:
        remove(directory, name, tree.top)
    except FileNotFoundError:
        pass
    except OSError as error:
        left_behind(name, error)


def place(directory: int, temporary: bytes, name: bytes) -> None:
    """Rename `temporary` to `name`, both in the directory open as `directory`.

    Where the filesystem has no RENAME_NOREPLACE, a file gets its name by a hard link; a directory, and a file
    where there are no hard links, takes the place of an empty one that was made just before. That one is seen
    for a moment; what others put into such a directory meanwhile is kept (ENOTEMPTY).

    Raises:
        OSError: EEXIST where there is something of that name, which stays as it is.
    """
    try:
        calls.rename_new(directory, temporary, name)
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
    _rename_over(directory, temporary, name, os.unlink)


def _replace_new_directory(directory: int, temporary: bytes, name: bytes) -> None:
    os.mkdir(name, 0o700, dir_fd=directory)
    _rename_over(directory, temporary, name, os.rmdir)


def _rename_over(directory: int, temporary: bytes, name: bytes, remove: Callable[..., None]) -> None:
    """Put it in the place of an empty one made for it, which `remove` takes away where that fails."""
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        with suppress(OSError):
            remove(name, dir_fd=directory)
        raise
