"""The inodes that the native layer answers for by itself (nodes.c).

Whoever owns the inodes enters them, lends out their descriptors, and takes each back before it is closed.
There is one table a process, as there is one session. Functions may be called from any thread and ignore a
number that is not in the table: its requests are left to `Operations`, and the kernel is told to believe none
of its attributes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fusecopy.native._native import lib

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyEntry


def enter(number: int, descriptor: int, timeout: float, parent: int) -> None:
    """Enter an inode and lend its O_PATH descriptor. `timeout` is for how many seconds the kernel may believe
    its attributes, `parent` the directory where it was found. Where there is no memory for it, it is not
    entered."""
    lib.fusecopy_node_enter(number, descriptor, timeout, parent)


def lend(number: int, descriptor: int) -> None:
    """Lend another descriptor of an inode whose own was closed."""
    lib.fusecopy_node_lend(number, descriptor)


def take_back(number: int) -> None:
    """From now on nobody begins to use the descriptor lent."""
    lib.fusecopy_node_lend(number, -1)


def forget(number: int) -> None:
    """Take an inode out, and its descriptor back."""
    lib.fusecopy_node_forget(number)


def close(descriptor: int) -> None:
    """Close a descriptor that was taken back, or leave that to the last who still uses it. May wait."""
    lib.fusecopy_node_close(descriptor)


def close_all(descriptors: Sequence[int]) -> None:
    """The same for several; -1 is none."""
    lib.fusecopy_node_close_all(descriptors, len(descriptors))


def expire(number: int) -> bool:
    """Have the kernel believe no attributes of an inode that others may change unseen. Whether it believed
    them so far."""
    return bool(lib.fusecopy_node_expire(number))


def told_size(number: int) -> int:
    """The size in bytes that the kernel was last told; -1 where it was told none."""
    return int(lib.fusecopy_node_told_size(number))


def tell(number: int, entry: "FusecopyEntry") -> None:
    """Give a struct fusecopy_entry the number and the timeout with which the kernel is about to be told its
    attributes."""
    lib.fusecopy_node_tell(number, entry)
