"""Open files: which are on a mount of fusecopy, and what its server does with them (fusecopy.ioctls)."""

import errno
import os
import re
import select
import stat
import threading
from dataclasses import dataclass

from fusecopy import ioctls, mounts
from fusecopy.clone._native import ffi, lib
from fusecopy.clone.listener import NotServed

READABLE = (os.O_RDONLY, os.O_RDWR)
WRITABLE = (os.O_WRONLY, os.O_RDWR)
"""O_ACCMODE of descriptors that may read or write; the fourth value may neither."""

WRITEBACK_WAITS = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 16)
"""Whether writeback of a FUSE file ends with the server's answer; see `write_back`."""


@dataclass(frozen=True, slots=True)
class CallerFile:
    """An open file of a caller, as a descriptor of ours: its filesystem, its st_mode, and its flags as
    fcntl(F_GETFL) tells them."""

    fd: int
    device: int
    mode: int
    flags: int

    @property
    def readable(self) -> bool:
        return self.flags & os.O_ACCMODE in READABLE

    @property
    def writable(self) -> bool:
        return self.flags & os.O_ACCMODE in WRITABLE

    @property
    def regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def directory(self) -> bool:
        return stat.S_ISDIR(self.mode)


def taken(pidfd: int, number: int) -> CallerFile:
    """The file that a process has open under a number; closing our descriptor is the taker's.

    Raises:
        OSError: EBADF where it has none.
        NotServed: we have not the rights of ptrace(2) over it.
    """
    file = ffi.new("struct fusecopy_taken *")
    fd: int = lib.fusecopy_take(pidfd, ffi.cast("int", number), file)
    if fd == -errno.EBADF:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if fd < 0:
        raise NotServed
    return CallerFile(fd, file.device, file.mode, file.flags)


class Devices:
    """The st_dev of every mount of fusecopy in this mount namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = open("/proc/self/mountinfo", "rb")  # noqa: SIM115 (kept, to be told of changes)
        self._changes = select.poll()
        self._changes.register(self._table, select.POLLPRI)
        self._devices = self._look()

    def __contains__(self, device: int) -> bool:
        # A number that was a mount's and is another filesystem's by now does no harm: it answers ENOTTY.
        if device in self._devices:
            return True
        with self._lock:
            if self._changes.poll(0):
                self._devices = self._look()
        return device in self._devices

    def _look(self) -> frozenset[int]:
        return frozenset(mount.device for mount in mounts.ours())


def write_back(fd: int) -> None:
    """Have the kernel hand all that it holds of a file to the server, and wait until the server has it: pages
    written by mmap. (What it does as well before a copy; before an unknown ioctl it does not, and close(2)
    does not either where the server has said FOPEN_NOFLUSH.)

    Since Linux 6.16 (fs/fuse/file.c, without temporary pages) a page is under writeback until the server has
    answered, and to wait for the pages, of which there are none as a rule, takes no request. Before, a page
    counted as written once it was copied, and only FSYNC surely waited for the server.
    """
    if not WRITEBACK_WAITS:
        os.fdatasync(fd)
    elif (result := lib.fusecopy_write_back(fd)) < 0:
        raise OSError(-result, os.strerror(-result))


def offer(source: int, asked: ioctls.Asked, offset: int, length: int) -> bytes:
    """Offer a range to be cloned by this thread's next `clone`; returns the token.

    Raises:
        NotServed: the mount's server is older, or this user may not ask it.
        OSError: for dedupe, the backing does not take the range.
    """
    data = bytearray(ioctls.Offer(asked, offset, length).pack())
    _ask(source, ioctls.OFFER, data)
    return bytes(data[: ioctls.TOKEN_BYTES])


def clone(destination: int, token: bytes, offset: int, thread: int) -> ioctls.CloneReply:
    """Clone or dedupe what was offered, on behalf of `thread`.

    Raises:
        OSError: with the backing's errno; or EXDEV, the kernel's own of two mounts, where the destination's
            server does not get the source from the other, is older, or may not be asked by this user.
    """
    data = bytearray(ioctls.CloneRequest(token, offset, thread).pack())
    try:
        _ask(destination, ioctls.CLONE, data)
    except NotServed:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from None
    return ioctls.CloneReply.unpack(bytes(data))


def fiemap(fd: int, head: bytes) -> tuple[int, memoryview]:
    """FS_IOC_FIEMAP of the backing, of at most ioctls.EXTENTS extents.

    Args:
        head: a struct fiemap without extents.

    Returns:
        Its errno or 0, and the struct with its extents.

    Raises:
        NotServed: the mount's server is older, or this user may not ask it.
    """
    data = bytearray(ioctls.MAP_BYTES)
    data[ioctls.MAPPED.size : ioctls.MAPPED.size + len(head)] = head
    _ask(fd, ioctls.FIEMAP, data)
    (code,) = ioctls.MAPPED.unpack_from(data)
    return code, memoryview(data)[ioctls.MAPPED.size :]


def _ask(fd: int, number: int, data: bytearray) -> None:
    """The first request about a file: whoever it is not for is told as if it were not there. (fcntl.ioctl
    would hold the interpreter's lock where the argument is long.)"""
    result: int = lib.fusecopy_ioctl(fd, number, ffi.from_buffer(data))
    if result in (-errno.ENOTTY, -errno.EACCES):
        raise NotServed
    if result < 0:
        raise OSError(-result, os.strerror(-result))
