"""Listings of directories of the backing, a batch of entries at a time."""

import os
from typing import TYPE_CHECKING

from fusecopy.native._native import ffi, lib
from fusecopy.native.inodes import Inode

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyRequest

_new = ffi.new_allocator(should_clear_after_alloc=False)


class Directory:
    """An open directory of the backing and what was read of it ahead.

    Attributes:
        fd: its descriptor, open for reading, whose position is this object's.
        native: the same for the native layer.
    """

    __slots__ = ("fd", "native")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.native = _new("struct fusecopy_directory *")
        self.native.fd = fd
        self.native.position = self.native.next = self.native.length = 0

    def seek(self, off: int) -> None:
        """Go on from position `off`, a d_off of this directory or 0. Raises OSError."""
        _check(lib.fusecopy_seek_directory(self.native, off))


class Listing:
    """A reply to READDIR or READDIRPLUS while it is laid out, in three steps for each batch: `find` entries,
    `enter` those that it opened, `lay_out`.

    Attributes:
        plus: entries are looked up.
        native: the reply and the batch, for the native layer.
    """

    __slots__ = ("_reply", "native", "plus")

    def __init__(self, size: int, plus: bool) -> None:
        """With room for `size` bytes."""
        self._reply = _new("char[]", size)
        self.plus = plus
        self.native = _new("struct fusecopy_listing *")
        self.native.reply, self.native.size, self.native.used = self._reply, size, 0
        self.native.plus = plus

    def find(self, directory: Directory, number: int, parent: int) -> bool:
        """Take the next entries, as many as one batch and the reply have room for; what went since it was
        read is left out. With `plus` each is opened, but "." and ".." and what may not be looked up, and
        is to be entered. False when there are no more, or no room.

        Args:
            number, parent: what the kernel calls the directory and the one above.

        Raises:
            OSError: the directory cannot be read on; nothing was taken.
        """
        directory.native.number, directory.native.parent = number, parent
        return _check(lib.fusecopy_find(self.native, directory.native)) > 0

    def enter(self, directory: Inode) -> None:
        """Have the inode table count a look-up of each that was opened, as found in `directory`."""
        lib.fusecopy_enter_listed(self.native, directory.native)

    def lay_out(self) -> None:
        """Add the batch to the reply."""
        lib.fusecopy_lay_out(self.native)

    @property
    def is_empty(self) -> bool:
        """Nothing was laid out yet."""
        return not self.native.used

    def reply(self, request: "FusecopyRequest") -> None:
        """Send it."""
        lib.fusecopy_reply_data(request, self._reply, self.native.used)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
