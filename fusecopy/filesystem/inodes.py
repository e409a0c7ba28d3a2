"""What the kernel knows by number: the inode table, and a bounded number of descriptors behind it.

An inode is held by an O_PATH descriptor, which no rename or replaced name can turn into another file. When
there are more inodes than descriptors may be open, the least recently used is closed and opened again on
demand: by file handle where that is permitted, else by its parent and name, and then only if the file found
there is still the same one. What the kernel may ask for although no name leads to it any more (unlinked
files, removed directories) keeps its descriptor.

Every method may be called from any thread. The table's lock is held for look-ups in memory and for the
reopening of a descriptor, never for a close that may free a file's blocks. Each descriptor is lent to the
native layer, which answers for inodes by itself (native/nodes.c), and is closed by it.

There may be a million inodes, so each costs little: a file is found by the number that the kernel calls it,
which follows from its device and inode number, and only where that number was taken by an entry of its own.
Python's cycle collector does not look at inodes, during which the server would stand still; so directories
moved behind the mount's back into each other are never freed.
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from fusecopy.filesystem import devices, kernel
from fusecopy.filesystem.devices import Device, FileId
from fusecopy.filesystem.inode import ROOT, Inode
from fusecopy.filesystem.reopening import open_by_names
from fusecopy.native import nodes
from fusecopy.native.listings import Found

SPARE = 1 << 16
"""Places that a dict may keep for inodes that were forgotten: it gives none back by itself."""

LEAST_DESCRIPTORS = 4
"""So many are kept however often descriptors run out."""

CLOSED_AT_ONCE = 64
"""Descriptors that may be open still although the table has counted them as closed."""


class Borrowed:
    """The descriptor of an inode, open for as long as the context lasts."""

    __slots__ = ("_inode", "_number", "_table")

    def __init__(self, table: "InodeTable", number: int) -> None:
        self._table = table
        self._number = number

    def __enter__(self) -> int:
        self._inode = inode = self._table.take(self._number)
        return inode.descriptor

    def __exit__(self, *_: object) -> None:
        self._table.give_back(self._inode)


class InodeTable:
    """All inodes the kernel knows, found by their number or by the backing's device and inode number."""

    def __init__(self, root: int, descriptor_limit: int, timeout: float) -> None:
        """Begin with the directory open as `root` (any descriptor; it becomes the table's), and keep at
        most about `descriptor_limit` descriptors. The kernel may believe attributes for `timeout` seconds."""
        st = os.fstat(root)
        self._lock = threading.Lock()
        self._limit = descriptor_limit
        self._timeout = timeout
        self._devices = {st.st_dev: Device(st.st_dev, 0, root)}
        self._by_handle = devices.may_open_by_handle(root)
        self.root = Inode(ROOT, st.st_dev, st.st_ino, (None, b""), root, lookups=1, kept=True)
        self._by_number = {ROOT: self.root}
        nodes.enter(ROOT, root, timeout, ROOT)
        self._elsewhere = {(st.st_dev, st.st_ino): self.root}
        self._recent: OrderedDict[int, Inode] = OrderedDict()
        self._removed = 0

    def __len__(self) -> int:
        """Inodes known besides the root."""
        return len(self._by_number) - 1

    def get(self, number: int) -> Inode:
        """The inode the kernel calls `number`. ESTALE where it knows none: then its count is wrong."""
        # No lock: one look into a dict is atomic, and what the kernel asks for was entered before it asked.
        inode = self._by_number.get(number)
        if inode is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return inode

    def find(self, st: os.stat_result) -> Inode | None:
        """The inode of a file of the backing, if the kernel knows it."""
        with self._lock:
            return self._find(st.st_dev, st.st_ino)

    def borrow(self, number: int) -> Borrowed:
        """The descriptor of an inode for a `with` block; raises as `take`."""
        return Borrowed(self, number)

    def take(self, number: int) -> Inode:
        """The inode with its descriptor open, which stays so until `give_back`.

        Raises:
            OSError: ESTALE where the file is no longer to be found.
        """
        with self._lock:
            inode = self.get(number)
            if inode.descriptor < 0:
                self._reopen(inode)
            elif not inode.kept:
                self._recent.move_to_end(number)
            inode.borrowers += 1
        return inode

    def give_back(self, inode: Inode) -> None:
        """End what `take` began."""
        with self._lock:
            descriptor = self._given_back(inode)
        nodes.close(descriptor)

    def enter(self, descriptor: int, st: FileId, parent: Inode, name: bytes) -> Inode:
        """Count one more look-up of the file open as `descriptor`, which becomes the table's."""
        with self._lock:
            inode = self._enter(descriptor, st.st_dev, st.st_ino, (parent, name))
            self._make_room()
        return inode

    def enter_unnamed(self, descriptor: int, st: FileId, parent: Inode) -> Inode:
        """The same for a new file without a name, which is called as the kernel calls it (d_tmpfile)."""
        with self._lock:
            inode = self._enter(descriptor, st.st_dev, st.st_ino, (parent, b"#%d" % st.st_ino))
            inode.kept = True
            self._recent.pop(inode.number, None)
        return inode

    def named(self, inode: Inode, parent: Inode, name: bytes) -> None:
        """An inode without a name has got its first."""
        with self._lock:
            inode.seen, inode.elsewhere, inode.kept = (parent, name), None, False
            self._recent[inode.number] = inode

    def enter_all(self, found: Iterable[Found], parent: Inode) -> "list[Inode | None]":
        """The same for what was found in a directory; None where that has no descriptor."""
        with self._lock:
            inodes = [
                self._enter(descriptor, device, ino, (parent, name)) if descriptor >= 0 else None
                for name, descriptor, device, ino, _ in found
            ]
            self._make_room()
        return inodes

    def seen(self, inode: Inode, parent: Inode, name: bytes) -> None:
        """Remember where an inode was seen."""
        if inode is not self.root:
            with self._lock:
                inode.see(parent, name)

    def lost(self, inode: Inode, parent: Inode | None, name: bytes) -> bool:
        """A name of an inode is gone. Whether no other is known."""
        with self._lock:
            return parent is None or inode.lose(parent, name)

    def keep(self, st: FileId) -> Inode | None:
        """The inode of a file that is about to lose a name, with its descriptor open, which stays so until
        `settle` or, where it kept the name, `give_back`. None if the kernel does not know the file."""
        with self._lock:
            inode = self._find(st.st_dev, st.st_ino)
            if inode is not None:
                if inode.descriptor < 0:
                    self._reopen(inode)
                inode.borrowers += 1
        return inode

    def settle(self, inode: Inode, unnamed: bool, last: bool) -> None:
        """Let the descriptor of an inode that lost a name be closed again if it can be found without it.

        Args:
            unnamed: the name last seen is gone; another one, a hard link, is not known to us.
            last: it is known to have had no other name.
        """
        with self._lock:
            if inode.lookups and inode is not self.root:
                lost = last or (unnamed and not self._by_handle)
                inode.kept = lost or os.fstat(inode.descriptor).st_nlink == 0
                if inode.kept:
                    self._recent.pop(inode.number, None)
                else:
                    self._recent[inode.number] = inode
            descriptor = self._given_back(inode)
        nodes.close(descriptor)

    def forget(self, lookups: Sequence[tuple[int, int]]) -> None:
        """Take back look-ups, (number, how many) each; the last one removes an inode, and may wait while the
        blocks of a file without a name are freed."""
        for first in range(0, len(lookups), CLOSED_AT_ONCE):
            closed: list[int] = []
            with self._lock:
                for number, count in lookups[first : first + CLOSED_AT_ONCE]:
                    inode = self._by_number.get(number)
                    if inode is not None and inode is not self.root:
                        inode.lookups = max(inode.lookups - count, 0)
                        if not inode.lookups:
                            self._remove(inode)
                            closed.append(self._let_go(inode))
            nodes.close_all(closed)

    def names(self) -> list[tuple[int, bytes]]:
        """Where each inode was last seen: its directory's number, and its name in it."""
        with self._lock:
            inodes = list(self._by_number.values())
        return [(above.number, name) for above, name in (inode.seen for inode in inodes) if above]

    def run_out(self) -> None:
        """Descriptors have run out: close all that may be opened again, and keep fewer from now on."""
        with self._lock:
            fewer = max(LEAST_DESCRIPTORS, min(self._limit, len(self._recent) // 2))
            self._limit = 0
            self._make_room()
            self._limit = fewer

    def close(self) -> None:
        """Close every descriptor."""
        with self._lock:
            for inode in self._by_number.values():
                self._close(inode)
                nodes.forget(inode.number)
            for device in self._devices.values():
                if device.anchor >= 0 and device.number != self.root.device:
                    os.close(device.anchor)

    # ---- under the lock ------------------------------------------------------------------------------

    def _enter(self, descriptor: int, device: int, ino: int, seen: "tuple[Inode, bytes]") -> Inode:
        inode = self._find(device, ino)
        if inode is None:
            inode = self._add(device, ino, seen, descriptor)
        else:
            if inode is not self.root:
                inode.see(*seen)
            if inode.descriptor < 0:
                self._adopt(inode, descriptor)
            else:
                os.close(descriptor)
                if not inode.kept:
                    self._recent.move_to_end(inode.number)
        inode.lookups += 1
        return inode

    def _given_back(self, inode: Inode) -> int:
        """Have one borrower less; returns the descriptor that is to be closed outside of the lock, or -1."""
        inode.borrowers -= 1
        return -1 if inode.lookups else self._let_go(inode)

    def _let_go(self, inode: Inode) -> int:
        """Take the descriptor of a forgotten inode unless somebody still borrows it; else -1."""
        if inode.borrowers:
            return -1
        descriptor, inode.descriptor = inode.descriptor, -1
        return descriptor

    def _find(self, device: int, ino: int) -> Inode | None:
        known = self._devices.get(device)
        if known is None:
            return None
        inode = self._by_number.get(known.usual(ino))
        if inode is not None and inode.ino == ino and inode.device == device:
            return inode
        return self._elsewhere.get((device, ino))

    def _add(self, st_dev: int, ino: int, seen: tuple[Inode, bytes], descriptor: int) -> Inode:
        """A new inode. Its number stays while it is known, so that hard links are recognised by st_ino."""
        device = self._devices.get(st_dev)
        if device is None:
            first = devices.first_number(self.root.descriptor, descriptor)
            device = self._devices[st_dev] = Device(st_dev, first)
        if device.anchor < 0:
            device.anchor = devices.anchor(descriptor)
        number = usual = device.usual(ino)
        while number <= ROOT or number in self._by_number:
            number = devices.after(number)
        # device.number and not st_dev: a million inodes then share one integer.
        inode = Inode(number, device.number, ino, seen, descriptor)
        self._by_number[number] = self._recent[number] = inode
        nodes.enter(number, descriptor, self._timeout, seen[0].number)
        if number != usual:
            self._elsewhere[(st_dev, ino)] = inode
        return inode

    def _remove(self, inode: Inode) -> None:
        del self._by_number[inode.number]
        nodes.forget(inode.number)
        self._recent.pop(inode.number, None)
        self._elsewhere.pop((inode.device, inode.ino), None)
        self._removed += 1
        if self._removed > len(self._by_number) + SPARE:
            self._by_number = dict(self._by_number)
            self._removed = 0

    def _make_room(self) -> None:
        """Close the least recently used descriptors that nobody holds, down to the limit. What the native
        layer uses does not count as recent: closed early, it is opened again."""
        for _ in range(len(self._recent) - self._limit):
            number, inode = self._recent.popitem(last=False)
            if inode.borrowers:
                self._recent[number] = inode
            else:
                if inode.handle is None:
                    inode.handle = kernel.file_handle(inode.descriptor)
                self._close(inode)

    def _close(self, inode: Inode) -> None:
        nodes.take_back(inode.number)
        nodes.close(inode.descriptor)
        inode.descriptor = -1

    def _adopt(self, inode: Inode, descriptor: int) -> None:
        """Take a new descriptor for an inode whose own was closed. If its file went meanwhile and another
        got its inode number, the generation tells the kernel, which drops what it knew."""
        handle = kernel.file_handle(descriptor)
        if inode.handle is not None and inode.handle != handle:
            inode.generation += 1
        inode.descriptor, inode.handle = descriptor, handle
        nodes.lend(inode.number, descriptor)
        self._recent[inode.number] = inode

    def _reopen(self, inode: Inode) -> None:
        self._make_room()
        anchor = self._devices[inode.device].anchor
        if self._by_handle and anchor >= 0 and inode.handle is not None:
            inode.descriptor = kernel.open_by_handle(anchor, inode.handle)
        else:
            inode.descriptor = open_by_names(inode)
        nodes.lend(inode.number, inode.descriptor)
        self._recent[inode.number] = inode
