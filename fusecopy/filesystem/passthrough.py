"""Kernel passthrough (FUSE_PASSTHROUGH, Linux 6.9): the kernel reads and writes the backing's files by
itself.

Copies are asked of the server all the same; READ and WRITE are not, so what programs move themselves is
unseen, and so is what the kernel's own splice moves after a declined copy.
"""

import errno
import os
import threading
from dataclasses import dataclass

from fusecopy import serving
from fusecopy.errors import FuseUnavailableError
from fusecopy.native.inodes import Inode


@dataclass(slots=True)
class _Backing:
    number: int
    opens: int


class Passthrough:
    """The backing files that the kernel knows; one for all opens of an inode, else it refuses the later ones
    with EIO (fs/fuse/iomode.c, Linux 6.9 to 7.2). Methods may run in any thread.

    Attributes:
        wanted: it was asked for.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._lock = threading.Lock()
        self._known: dict[tuple[int, int], _Backing] = {}

    def check(self, mountpoint: str) -> None:
        """Once the mount answers: that the kernel agreed, and takes a file of this process.

        Raises:
            FuseUnavailableError: it did not, or root of a user namespace asks (EPERM: it wants CAP_SYS_ADMIN
                in the initial one, fuse_backing_open, Linux 6.9 to 7.2).
        """
        if not self.wanted:
            return
        if not serving.connection().passthrough:
            raise FuseUnavailableError(
                f"{mountpoint}: the kernel has no FUSE passthrough, or libfuse cannot ask for it",
                "it takes Linux 6.9 with CONFIG_FUSE_PASSTHROUGH; mount without --passthrough",
            )
        if _is_refused():
            raise FuseUnavailableError(
                f"{mountpoint}: the kernel refuses passthrough to this user namespace",
                "it takes CAP_SYS_ADMIN outside of any container; mount without --passthrough",
            )

    def opened(self, inode: Inode, descriptor: int) -> int:
        """Count an open of the file behind `descriptor`; what to tell the kernel, 0 for nothing.

        A FORGET may overtake the last RELEASE, and the inode's number be another file's by then; device and
        inode number of the backing are this file's for as long as the kernel holds it.
        """
        if not self.wanted:
            return 0
        with self._lock:
            known = self._known.get((inode.device, inode.ino))
            if known is None:
                # What the kernel will not take (ELOOP: the backing is stacked too high) is served here.
                known = _Backing(max(0, serving.backing_open(descriptor)), 0)
                self._known[inode.device, inode.ino] = known
            known.opens += 1
            return known.number

    def released(self, inode: Inode) -> None:
        """Take an open back; after the last one the kernel forgets the file."""
        if not self.wanted:
            return
        with self._lock:
            known = self._known[inode.device, inode.ino]
            known.opens -= 1
            if known.opens == 0:
                del self._known[inode.device, inode.ino]
                if known.number:
                    serving.backing_close(known.number)


def _is_refused() -> bool:
    descriptor = os.memfd_create("fusecopy")
    try:
        number = serving.backing_open(descriptor)
    finally:
        os.close(descriptor)
    if number > 0:
        serving.backing_close(number)
    return number == -errno.EPERM
