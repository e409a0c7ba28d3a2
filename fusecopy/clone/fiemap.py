"""FS_IOC_FIEMAP: the backing's extents of a file seen through the mount."""

import errno
import os
from typing import TYPE_CHECKING

from fusecopy.clone import files
from fusecopy.clone._native import ffi, lib
from fusecopy.clone.files import Devices
from fusecopy.clone.listener import Notification, NotServed
from fusecopy.clone.pinned import PinnedThread
from fusecopy.ioctls import EXTENTS

if TYPE_CHECKING:
    from fusecopy.clone._native import Fiemap, FiemapExtent

HEAD_BYTES = ffi.sizeof("struct fiemap")
EXTENT_BYTES = ffi.sizeof("struct fiemap_extent")


def fiemap(call: Notification, caller: PinnedThread, devices: Devices) -> None:
    """Serve FS_IOC_FIEMAP, piece by piece where more extents are wanted than one request can carry."""
    with caller.file(call.fd) as file:
        if file.device not in devices or not (file.regular or file.directory):
            raise NotServed
        head = ffi.from_buffer("struct fiemap *", caller.read(call.argument, HEAD_BYTES))
        if head.fm_extent_count > lib.MOST_EXTENTS:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with caller.acting():
            if file.regular and head.fm_flags & lib.FIEMAP_FLAG_SYNC:
                files.write_back(file.fd)
            code = _map(file.fd, head, call.argument + HEAD_BYTES, caller)
        # As the kernel: also after an error, because with EBADR it says which flags it does not know.
        caller.write(call.argument, ffi.buffer(head, HEAD_BYTES)[:])
        if code:
            raise OSError(code, os.strerror(code))


def _map(fd: int, head: "Fiemap", address: int, caller: PinnedThread) -> int:
    """Fill the caller's extents from `address` on, and the head. Returns an errno or 0."""
    wanted, found = head.fm_extent_count, 0
    piece = ffi.new("struct fiemap *", {"fm_start": head.fm_start, "fm_length": head.fm_length})
    while True:
        piece.fm_flags, piece.fm_extent_count = head.fm_flags, min(wanted - found, EXTENTS)
        code, answer = files.fiemap(fd, ffi.buffer(piece, HEAD_BYTES)[:])
        told = ffi.from_buffer("struct fiemap *", answer)
        count = told.fm_mapped_extents
        if wanted:  # else they are only counted
            count = min(count, piece.fm_extent_count)
            caller.write(address + found * EXTENT_BYTES, answer[HEAD_BYTES:][: count * EXTENT_BYTES])
        found += count
        if code or found >= wanted or count < EXTENTS or not _advance(piece, told.fm_extents[count - 1]):
            head.fm_flags, head.fm_mapped_extents = told.fm_flags, found
            return code


def _advance(piece: "Fiemap", last: "FiemapExtent") -> bool:
    """Go on behind an extent; False where nothing is left to ask for."""
    done = last.fe_logical + last.fe_length - piece.fm_start
    if last.fe_flags & lib.FIEMAP_EXTENT_LAST or not 0 < done < piece.fm_length:
        return False
    piece.fm_start += done
    piece.fm_length -= done
    return True
