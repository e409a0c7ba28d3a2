"""What the kernel knows by number: the inode table, which is in C (native/inodes.c), as Python asks it.

Every method may be called from any thread. None holds a lock while a descriptor is opened or closed.
"""

from collections.abc import Sequence

from fusecopy.native import inodes
from fusecopy.native._native import lib
from fusecopy.native.inodes import Inode

LEAST_DESCRIPTORS = 4
"""So many are kept however often descriptors run out."""


class Borrowed:
    """The descriptor of an inode, open for as long as the context lasts."""

    __slots__ = ("_inode",)

    def __init__(self, inode: Inode) -> None:
        self._inode = inode

    def __enter__(self) -> int:
        self._inode.take()
        return self._inode.descriptor

    def __exit__(self, *_: object) -> None:
        self._inode.give_back()


class Opened:
    """An inode, with its descriptor open for as long as the context lasts."""

    __slots__ = ("_inode",)

    def __init__(self, inode: Inode) -> None:
        self._inode = inode

    def __enter__(self) -> Inode:
        self._inode.take()
        return self._inode

    def __exit__(self, *_: object) -> None:
        self._inode.give_back()


class InodeTable:
    """All inodes the kernel knows, found by their number or by the backing's device and inode number.

    Attributes:
        root: of the mount.
    """

    def __init__(self, root: int, descriptor_limit: int, timeout: float) -> None:
        """Begin with the directory open as `root` (any descriptor; it becomes the table's), and keep at
        most about `descriptor_limit` descriptors. The kernel may believe attributes for `timeout` seconds."""
        held = lib.fusecopy_begin_inodes(root, descriptor_limit, timeout)
        if not held:
            raise MemoryError
        self.root = Inode(held)

    def __len__(self) -> int:
        """Inodes known besides the root."""
        return int(lib.fusecopy_count_inodes())

    def get(self, number: int) -> Inode:
        """The inode the kernel calls `number`. ESTALE where it knows none: then its count is wrong."""
        return inodes.get(number)

    def borrow(self, number: int) -> Borrowed:
        """The descriptor of an inode for a `with` block; raises as `get`, and as `Inode.take`."""
        return Borrowed(inodes.get(number))

    def opened(self, number: int) -> Opened:
        """The same, which gives the inode."""
        return Opened(inodes.get(number))

    def forget(self, lookups: Sequence[tuple[int, int]]) -> None:
        """Take back look-ups, (number, how many) each; the last one removes an inode, and may wait while the
        blocks of a file without a name are freed."""
        for number, count in lookups:
            lib.fusecopy_forget(number, count)

    def names(self) -> list[tuple[int, bytes]]:
        """Where each inode was last seen: its directory's number, and its name in it."""
        return [(above.number, name) for above, name in (inode.seen for inode in inodes.every()) if above]

    def run_out(self) -> None:
        """Descriptors have run out: close all that may be opened again, and keep fewer from now on."""
        lib.fusecopy_run_out()

    def close(self) -> None:
        """Forget all, and close every descriptor."""
        lib.fusecopy_end_inodes()
