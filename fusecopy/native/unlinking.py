"""Names that go (unlinking.c): the kernel may know what has one, and only its descriptor leads to it then."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fusecopy.native._native import ffi, lib
from fusecopy.native.inodes import Inode


@dataclass(slots=True)
class Loss:
    """A name that goes.

    Attributes:
        known: what has it, if the kernel knows that.
        is_only: it has no other name.
        still_named: that, when the name is gone, if it has another.
    """

    known: Inode | None
    is_only: bool
    still_named: Inode | None = None


@contextmanager
def losing(directory: Inode, name: bytes) -> Iterator[Loss]:
    """Within this a name is taken away from what has it, unless there is an exception. The directory's
    descriptor is open. Raises OSError."""
    loss, named = ffi.new("struct fusecopy_loss *"), ffi.new("char[]", name)
    error = lib.fusecopy_begin_loss(loss, directory.native, named)
    if error:
        raise OSError(-error, os.strerror(-error))
    known = Inode(lib.fusecopy_hold(loss.known)) if loss.known else None
    told = Loss(known, bool(loss.is_only))
    try:
        yield told
    except BaseException:
        lib.fusecopy_end_loss(loss, False)
        raise
    if lib.fusecopy_end_loss(loss, True):
        told.still_named = known


def moved(old: Inode, name: bytes, new: Inode, new_name: bytes, exchanged: bool) -> None:
    """After a rename from one open directory to another, or an exchange of two names."""
    lib.fusecopy_moved(old.native, name, new.native, new_name, exchanged)
