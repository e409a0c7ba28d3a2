"""The inodes that the kernel knows, each of which lives as long as somebody holds it (inode.h)."""

import errno
import os
from typing import TYPE_CHECKING

from fusecopy.native._native import ffi, lib

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyInode

ROOT: int = lib.FUSECOPY_ROOT

_PATH_BYTES = 4096


class Inode:
    """One file, directory or special file of the backing that the kernel knows, or has known.

    Attributes:
        native: the same in C.
        number: what the kernel calls it, and st_ino in the mount.
        device, ino: st_dev and st_ino in the backing.
    """

    __slots__ = ("native",)

    def __init__(self, held: "FusecopyInode") -> None:
        """From a struct fusecopy_inode *, whose hold becomes this object's."""
        self.native = ffi.gc(held, lib.fusecopy_release)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inode) and bool(self.native == other.native)

    def __hash__(self) -> int:
        return hash(self.native)

    @property
    def number(self) -> int:
        return int(self.native.number)

    @property
    def device(self) -> int:
        return int(self.native.device)

    @property
    def ino(self) -> int:
        return int(self.native.ino)

    @property
    def lookups(self) -> int:
        """How often the kernel was told of it and has not forgotten it; 0 once it is forgotten."""
        return int(self.native.lookups)

    @property
    def descriptor(self) -> int:
        """Its O_PATH descriptor, or -1 while that is closed."""
        return int(self.native.descriptor)

    @property
    def told_size(self) -> int:
        """The size in bytes that the kernel was last told; -1 where it was not, or has forgotten it."""
        return int(lib.fusecopy_told_size(self.native))

    @property
    def seen(self) -> "tuple[Inode | None, bytes]":
        """The directory and the name where it was last seen; no directory for the root."""
        name = ffi.new("char[]", lib.FUSECOPY_NAME_BYTES)
        directory = lib.fusecopy_seen(self.native, name)
        return Inode(directory) if directory else None, ffi.string(name)

    @property
    def parent(self) -> "Inode | None":
        """The directory where it was last seen."""
        return self.seen[0]

    @property
    def name(self) -> bytes:
        """The name last seen."""
        return self.seen[1]

    def path(self) -> bytes:
        """Path relative to the root of the mount, by the names last seen."""
        room = size = _PATH_BYTES
        while size >= room:
            room = 2 * size
            path = ffi.new("char[]", room)
            size = lib.fusecopy_path(self.native, path, room)
        return bytes(ffi.buffer(path, room)[room - size :])

    def see(self, directory: "Inode", name: bytes) -> None:
        """It was seen under this name, which may be a further one; the root has none."""
        lib.fusecopy_see(self.native, directory.native, name)

    def lose(self, directory: "Inode", name: bytes) -> bool:
        """This name is gone. Whether none is left that is known: then the last one still tells of it."""
        return bool(lib.fusecopy_lose(self.native, directory.native, name))

    def named(self, directory: "Inode", name: bytes) -> None:
        """It had no name and has got its first."""
        lib.fusecopy_name(self.native, directory.native, name)

    def keep_open(self) -> None:
        """No name leads to it: its descriptor stays open for as long as it is known."""
        lib.fusecopy_keep_open(self.native)

    def take(self) -> None:
        """Have its descriptor open, which stays so until `give_back`. Blocks.

        Raises:
            OSError: ESTALE where the file is no longer to be found.
        """
        error = lib.fusecopy_take(self.native)
        if error:
            raise OSError(-error, os.strerror(-error))

    def give_back(self) -> None:
        """End what `take` began."""
        lib.fusecopy_give_back(self.native)


def get(number: int) -> Inode:
    """The inode the kernel calls `number`. ESTALE where it knows none: then its count is wrong."""
    inode = lib.fusecopy_inode_of(number)
    if not inode:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return Inode(inode)


def find(device: int, ino: int) -> Inode | None:
    """The inode of a file of the backing, if the kernel knows it."""
    inode = lib.fusecopy_inode_of_file(device, ino)
    return Inode(inode) if inode else None


def every() -> list[Inode]:
    """All of them, the root among them."""
    count, room = lib.fusecopy_count_inodes() + 1, 0
    while count > room:
        room = 2 * count
        found = ffi.new("struct fusecopy_inode *[]", room)
        count = lib.fusecopy_all_inodes(found, room)
        inodes = [Inode(found[n]) for n in range(min(count, room))]
    return inodes


def expire(number: int) -> bool:
    """Have the kernel believe no attributes of an inode that others may change unseen. Whether it believed
    them so far."""
    return bool(lib.fusecopy_expire(number))
