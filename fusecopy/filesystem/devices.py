"""The filesystems that a backing directory is made of: how their files are numbered and opened by handle."""

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from fusecopy.filesystem import kernel

NUMBERS = 1 << 64

INO_BITS = 40
"""Above these an inode's number says which filesystem it is of: few have inode numbers as large."""

FOREIGN = 1 << 23
"""Set for a filesystem of its own, clear for a further subvolume of the backing's btrfs."""


class FileId(Protocol):
    """What tells a file of the backing from all others at the same time; os.stat_result has it."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...


@dataclass(slots=True, eq=False)
class Device:
    """One filesystem.

    Attributes:
        number: its st_dev.
        first: added to its inode numbers.
        anchor: a directory of it held open, which open_by_handle_at(2) wants, or -1.
    """

    number: int
    first: int
    anchor: int = -1

    def usual(self, ino: int) -> int:
        """What the kernel calls a file unless the number is taken: the backing's own where possible.

        Files of further filesystems below the backing would collide with those of the first, and be taken
        for their hard links, so each filesystem's numbers begin elsewhere (`first_number`).
        """
        return (ino + self.first) % NUMBERS if self.first else ino


def after(number: int) -> int:
    """The number to try when `number` is taken."""
    return (number + (1 << INO_BITS) + 1) % NUMBERS


def first_number(root: int, descriptor: int) -> int:
    """What is added to the inode numbers of the filesystem of `descriptor`; `root` is the backing's root.

    It is the same in each mount, whatever was looked at first: backup programs take a file with another
    number for another file. statfs(2) tells filesystems apart by an id made of what they were made with; of
    the subvolumes of one btrfs it differs in the subvolume's id alone (btrfs_statfs, fs/btrfs/super.c, Linux
    6.1 to 7.2). Where two have the same here, the order decides.
    """
    own, other = kernel.filesystem_id(root), kernel.filesystem_id(descriptor)
    subvolume = own ^ other
    if 0 < subvolume < FOREIGN:
        return subvolume << INO_BITS
    which = other or os.fstat(descriptor).st_dev
    return (FOREIGN | zlib.crc32(which.to_bytes(8, "little")) % FOREIGN) << INO_BITS


def anchor(descriptor: int) -> int:
    """The directory `descriptor` opened again for reading; -1 where it is none or may not be read."""
    with suppress(OSError):  # a single file bound into the tree is no directory: its names lead to it
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return -1


def may_open_by_handle(root: int) -> bool:
    """Whether this process and this filesystem allow it: tried, not guessed."""
    handle = kernel.file_handle(root)
    if handle is None:
        return False
    try:
        os.close(kernel.open_by_handle(root, handle))
    except OSError:
        return False
    return True
