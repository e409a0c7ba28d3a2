"""What the kernel is told: an inode's attributes, an opened file's handle."""

import os
from typing import TYPE_CHECKING, NamedTuple

from fusecopy.native._native import ffi, lib

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
    def of(cls, fd: int) -> "Entry":
        """The file behind `fd`, which may be opened with O_PATH, as fstat(2) has it; number and timeouts are
        still to be given. Raises OSError."""
        entry = cls(ffi.new("struct fusecopy_entry *"))
        error = lib.fusecopy_stat(fd, entry.native)
        if error:
            raise OSError(-error, os.strerror(-error))
        return entry

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

    def native(self) -> "FusecopyOpened":
        """The same for the native layer."""
        return ffi.new("struct fusecopy_opened *", self)
