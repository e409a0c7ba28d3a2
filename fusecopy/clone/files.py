"""Open files: which are on a mount of fusecopy, and what its server does with them (fusecopy.ioctls)."""

import errno
import fcntl
import os
import select
import stat
import threading
from dataclasses import dataclass

from fusecopy import ioctls, mounts
from fusecopy.clone.listener import NotServed

READABLE = (os.O_RDONLY, os.O_RDWR)
WRITABLE = (os.O_WRONLY, os.O_RDWR)
"""O_ACCMODE of descriptors that may read or write; the fourth value may neither."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What an open file is: its filesystem, its st_mode, and its flags as fcntl(F_GETFL) tells them."""

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


def kind(fd: int) -> Kind:
    """Look at an open file."""
    st = os.fstat(fd)
    return Kind(st.st_dev, st.st_mode, fcntl.fcntl(fd, fcntl.F_GETFL))


class Devices:
    """The st_dev of every mount of fusecopy in this mount namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = open("/proc/self/mountinfo", "rb")  # noqa: SIM115 (kept, to be told of changes)
        self._changes = select.poll()
        self._changes.register(self._table, select.POLLPRI)
        self._devices = self._look()

    def __contains__(self, device: int) -> bool:
        with self._lock:
            if self._changes.poll(0):
                self._devices = self._look()
            return device in self._devices

    def _look(self) -> frozenset[int]:
        return frozenset(mount.device for mount in mounts.ours())


def flush(fd: int) -> None:
    """Have the kernel hand all it holds of a file to the server, as close(2) does: pages written by mmap."""
    os.close(os.dup(fd))


def offer(source: int, asked: ioctls.Asked, offset: int, length: int) -> bytes:
    """Offer a range to be cloned by this thread's next `clone`; returns the token.

    Raises:
        NotServed: the mount's server is older, or this user may not ask it.
        OSError: for dedupe, the backing does not take the range.
    """
    data = bytearray(ioctls.Offer(asked, offset, length).pack())
    _ask(source, ioctls.OFFER, data)
    return bytes(data[: ioctls.TOKEN_BYTES])


def clone(destination: int, token: bytes, offset: int, thread: int) -> ioctls.Cloned:
    """Clone or dedupe what was offered, on behalf of `thread`.

    Raises:
        OSError: with the backing's errno; or EXDEV, the kernel's own of two mounts, where the destination's
            server does not get the source from the other, is older, or may not be asked by this user.
    """
    data = bytearray(ioctls.Clone(token, offset, thread).pack())
    try:
        _ask(destination, ioctls.CLONE, data)
    except NotServed:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from None
    return ioctls.Cloned.unpack(bytes(data))


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
    """The first request about a file: whoever it is not for is told as if it were not there."""
    try:
        fcntl.ioctl(fd, number, data, True)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EACCES):
            raise NotServed from None
        raise
