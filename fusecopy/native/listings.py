"""Listings of directories of the backing, a batch of entries at a time."""

import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fusecopy.native._native import ffi, lib
from fusecopy.native.entries import Entry

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyRequest

FILE_FOUND = struct.Struct("=qQQq")
"""struct fusecopy_file_found."""

_new = ffi.new_allocator(should_clear_after_alloc=False)


class Found(NamedTuple):
    """An entry of a directory.

    Attributes:
        name: its name.
        descriptor: an O_PATH descriptor of it, or -1; then no more is told than the name, and the rest means
            nothing.
        device, ino: st_dev and st_ino in the backing.
        size: in bytes.
    """

    name: bytes
    descriptor: int
    device: int
    ino: int
    size: int


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
    `number` those that it looked up, `lay_out`.

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
        read is left out. With `plus` each is opened, but "." and ".." and what may not be looked up, and its
        descriptor is the caller's. False when there are no more, or no room.

        Args:
            number, parent: what the kernel calls the directory and the one above.

        Raises:
            OSError: the directory cannot be read on; nothing was taken.
        """
        directory.native.number, directory.native.parent = number, parent
        return _check(lib.fusecopy_find(self.native, directory.native)) > 0

    def found(self) -> list[Found]:
        """The batch."""
        native = self.native
        names = bytes(ffi.buffer(native.names, native.names_length)).split(b"/")
        files = FILE_FOUND.iter_unpack(ffi.buffer(native.files, native.count * FILE_FOUND.size))
        return [Found(name, *file) for file, name in zip(files, names, strict=False)]  # one more name, empty

    def number(self, numbers: Sequence[int], timeout: float) -> None:
        """Say what the kernel shall call the files of the batch, any number for one without a descriptor, and
        for how many seconds it may believe what it is told."""
        lib.fusecopy_number(self.native, numbers, timeout)

    def entry(self, index: int) -> Entry:
        """One file of the batch, to tell more of it than the number."""
        return Entry(ffi.addressof(self.native.found[index].entry))

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
