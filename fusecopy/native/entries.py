"""What the kernel is told: an inode's attributes, an opened file's handle."""

import os
from typing import TYPE_CHECKING, NamedTuple

from fusecopy.native._native import ffi, lib
from fusecopy.native.files import NativeFile
from fusecopy.native.inodes import Inode

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyEntry, FusecopyOpened


class Entry:
    """An inode as the kernel is to know it.

    Attributes:
        native: its number, generation, timeouts and attributes, for the native layer.
    """

    __slots__ = ("native",)

    def __init__(self, native: "FusecopyEntry") -> None:
        self.native = native

    @classmethod
    def of(cls, fd: int, number: int) -> "Entry":
        """The file behind `fd`, which may be opened with O_PATH, as fstat(2) has it, and as the kernel calls
        it. Raises OSError."""
        entry = cls(ffi.new("struct fusecopy_entry *"))
        entry.native.number = number
        error = lib.fusecopy_stat(fd, entry.native)
        if error:
            raise OSError(-error, os.strerror(-error))
        return entry

    @classmethod
    def entered(cls, descriptor: int, directory: Inode, name: bytes) -> "tuple[Entry, Inode]":
        """Count a look-up of the file open as `descriptor`, with O_PATH, which was found in a directory under
        this name and becomes the inode table's. Returns what the kernel is to be told of it, and which it is.
        Raises OSError; then it is closed."""
        entry = cls(ffi.new("struct fusecopy_entry *"))
        found = ffi.new("struct fusecopy_inode *[]", 1)
        error = lib.fusecopy_enter_entry(descriptor, directory.native, name, entry.native, found)
        if error:
            raise OSError(-error, os.strerror(-error))
        return entry, Inode(lib.fusecopy_hold(found[0]))

    @property
    def number(self) -> int:
        """What the kernel calls it, and st_ino in the mount."""
        return int(self.native.number)

    @property
    def st_dev(self) -> int:
        """st_dev in the backing."""
        return int(self.native.device)

    @property
    def st_ino(self) -> int:
        """st_ino in the backing."""
        return int(self.native.ino)

    @property
    def st_size(self) -> int:
        """Size in bytes."""
        return int(self.native.stat.st_size)


class Opened(NamedTuple):
    """An opened file or directory.

    Attributes:
        fh: the handle that comes with each request for it.
        keep_cache: pages that the kernel knows from before are still right.
        noflush: no FLUSH is wanted when a descriptor of it is closed.
        cache_readdir: the kernel may remember the listing.
        backing: what the kernel reads and writes by itself (`backing_open`); 0 for nothing.
    """

    fh: int
    keep_cache: bool = False
    noflush: bool = False
    cache_readdir: bool = False
    backing: int = 0

    @classmethod
    def of(cls, file: NativeFile, backing: int) -> "Opened":
        """An open regular file; `backing` as above."""
        told = ffi.new("struct fusecopy_opened *")
        lib.fusecopy_describe(file.native, told)
        return cls(file.fh, bool(told.keep_cache), bool(told.noflush), False, backing)

    def native(self) -> "FusecopyOpened":
        """The same for the native layer."""
        return ffi.new("struct fusecopy_opened *", self)
