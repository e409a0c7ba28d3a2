"""Kernel passthrough (FUSE_PASSTHROUGH, Linux 6.9): the kernel reads and writes the backing's files by
itself.

Copies are asked of the server all the same; READ and WRITE are not, so what programs move themselves is
unseen.
"""

import threading
from dataclasses import dataclass

from fusecopy import libfuse
from fusecopy.filesystem.inodes import Inode


@dataclass(slots=True)
class _Backing:
    number: int
    opens: int


class Passthrough:
    """The backing files that the kernel knows; one for all opens of an inode, else it refuses the later ones
    with EIO (fs/fuse/iomode.c, Linux 6.9 to 7.2). Methods may run in any thread."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._lock = threading.Lock()
        self._known: dict[int, _Backing] = {}

    def opened(self, inode: Inode, descriptor: int) -> int:
        """Count an open of the file behind `descriptor`; what to tell the kernel, 0 for nothing."""
        if not self._wanted:
            return 0
        with self._lock:
            known = self._known.get(inode.number)
            if known is None:
                # What the kernel will not take (ELOOP: the backing is stacked too high) is served here.
                known = self._known[inode.number] = _Backing(max(0, libfuse.backing_open(descriptor)), 0)
            known.opens += 1
            return known.number

    def released(self, inode: Inode) -> None:
        """Take an open back; after the last one the kernel forgets the file."""
        if not self._wanted:
            return
        with self._lock:
            known = self._known[inode.number]
            known.opens -= 1
            if known.opens == 0:
                del self._known[inode.number]
                if known.number:
                    libfuse.backing_close(known.number)
