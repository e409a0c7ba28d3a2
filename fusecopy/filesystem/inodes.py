"""What the kernel knows by number: the inode table, and a bounded number of descriptors behind it.

An inode is held by an O_PATH descriptor, which no rename or replaced name can turn into another file. When
there are more inodes than descriptors may be open, the least recently used is closed and opened again on
demand: by file handle where that is permitted, else by its parent and name, and then only if the file found
there is still the same one. What the kernel may ask for although no name leads to it any more (unlinked
files, removed directories) keeps its descriptor.

Every method may be called from any thread. The table's lock is held for look-ups in memory and for the
reopening of a descriptor, never for anything else.
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import pyfuse3

from fusecopy.filesystem import kernel

ROOT = pyfuse3.ROOT_INODE
DEVICE_BITS = 48
NUMBERS = 1 << 64

DEEPEST = 4096
"""Directories moved behind the mount's back may, by the names last seen, lie in each other."""


class FileId(Protocol):
    """What tells a file of the backing from all others at the same time; os.stat_result has it."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...


@dataclass(slots=True, eq=False)
class Inode:
    """One file, directory or special file of the backing that the kernel knows.

    Attributes:
        number: what the kernel calls it, and st_ino in the mount.
        device, ino: st_dev and st_ino in the backing.
        parent, name: where it was last seen; None for the root.
        lookups: how often the kernel was told of it and has not forgotten it.
        descriptor: O_PATH descriptor, or -1 while closed.
        borrowers: threads that use the descriptor now; it is not closed under them.
        kept: no name leads to it any more (or it is a root), so the descriptor stays open.
        handle: file handle, known once the descriptor has been closed; tells it from a later file of the
            same number.
        generation: grows when another file takes over device and ino.
        told_size: the size in bytes that the kernel was last told.
        mapped: programs may write it through mapped pages that the kernel's own inode knows nothing of.
    """

    number: int
    device: int
    ino: int
    parent: "Inode | None"
    name: bytes
    descriptor: int
    lookups: int = 0
    borrowers: int = 0
    kept: bool = False
    handle: bytes | None = None
    generation: int = 0
    forgotten: bool = False
    told_size: int = -1
    mapped: bool = False

    def path(self) -> bytes:
        """Path relative to the root of the mount, by the names last seen."""
        names: list[bytes] = []
        inode = self
        while inode.parent is not None and len(names) < DEEPEST:
            names.append(inode.name)
            inode = inode.parent
        return b"/".join(reversed(names)) or b"."


class InodeTable:
    """All inodes the kernel knows, found by their number or by the backing's device and inode number."""

    def __init__(self, root: int, descriptor_limit: int) -> None:
        """Begin with the directory open as `root` (any descriptor; it becomes the table's), and keep at
        most about `descriptor_limit` descriptors."""
        st = os.fstat(root)
        self._lock = threading.RLock()
        self._limit = descriptor_limit
        self._devices = {st.st_dev: 0}
        self._anchors = {st.st_dev: root}
        self._by_handle = _may_open_by_handle(root)
        self.root = Inode(ROOT, st.st_dev, st.st_ino, None, b"", root, lookups=1, kept=True)
        self._by_number = {ROOT: self.root}
        self._by_file = {(st.st_dev, st.st_ino): self.root}
        self._recent: OrderedDict[int, Inode] = OrderedDict()

    def __len__(self) -> int:
        """Inodes known besides the root."""
        return len(self._by_number) - 1

    def get(self, number: int) -> Inode:
        """The inode the kernel calls `number`. ESTALE where it knows none: then its count is wrong."""
        with self._lock:
            inode = self._by_number.get(number)
        if inode is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return inode

    def find(self, st: os.stat_result) -> Inode | None:
        """The inode of a file of the backing, if the kernel knows it."""
        with self._lock:
            return self._by_file.get((st.st_dev, st.st_ino))

    @contextmanager
    def borrow(self, number: int, wait: bool = True) -> Iterator[int]:
        """The descriptor of an inode, open for as long as the context lasts.

        Raises:
            BlockingIOError: it has to be opened again and `wait` is False.
            OSError: ESTALE where the file is no longer to be found.
        """
        inode = self.get(number)
        with self._lock:
            if inode.descriptor < 0:
                if not wait:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                inode.descriptor = self._reopen(inode)
            self._used(inode)
            inode.borrowers += 1
        try:
            yield inode.descriptor
        finally:
            with self._lock:
                inode.borrowers -= 1
                if inode.forgotten and not inode.borrowers:
                    self._close(inode)

    def enter(self, descriptor: int, st: FileId, parent: Inode, name: bytes) -> Inode:
        """Count one more look-up of the file open as `descriptor`, which becomes the table's."""
        key = (st.st_dev, st.st_ino)
        with self._lock:
            inode = self._by_file.get(key)
            if inode is None:
                inode = Inode(self._number(st), *key, parent, name, descriptor)
                self._by_file[key] = self._by_number[inode.number] = inode
                self._anchor(inode)
            elif inode.descriptor >= 0:
                os.close(descriptor)
            else:
                self._adopt(inode, descriptor)
            inode.lookups += 1
            self.moved(inode, parent, name)
            self._used(inode)
            self._make_room()
        return inode

    def moved(self, inode: Inode, parent: Inode, name: bytes) -> None:
        """Remember where an inode was seen."""
        if inode is not self.root:
            inode.parent, inode.name = parent, name

    def keep(self, inode: Inode) -> None:
        """Open the inode's descriptor, before a name of it goes, and do not close it until `settle`."""
        with self._lock:
            if inode.forgotten:
                return
            if inode.descriptor < 0:
                inode.descriptor = self._reopen(inode)
            inode.kept = True
            self._recent.pop(inode.number, None)

    def settle(self, inode: Inode, unnamed: bool) -> None:
        """Let the descriptor of a kept inode be closed again if the file can still be found without it.

        Args:
            unnamed: the name last seen is gone; another one, a hard link, is not known to us.
        """
        with self._lock:
            if inode.forgotten or inode.descriptor < 0:
                return
            lost = unnamed and not self._by_handle
            inode.kept = lost or os.fstat(inode.descriptor).st_nlink == 0
            self._used(inode)

    def forget(self, number: int, lookups: int) -> tuple[int, bool]:
        """Take back `lookups` look-ups; the last one removes the inode.

        Returns:
            A descriptor that the caller closes, or -1, and whether the file has no name any more: closing
            its last descriptor then frees its blocks, which is not for trio's thread.
        """
        with self._lock:
            inode = self._by_number.get(number)
            if inode is None or inode is self.root:
                return -1, False
            inode.lookups -= lookups
            if inode.lookups > 0:
                return -1, False
            del self._by_number[number]
            del self._by_file[(inode.device, inode.ino)]
            self._recent.pop(number, None)
            inode.forgotten = True
            if inode.borrowers:
                return -1, False
            descriptor, inode.descriptor = inode.descriptor, -1
            return descriptor, inode.kept and descriptor >= 0

    def close(self) -> None:
        """Close every descriptor."""
        with self._lock:
            for inode in self._by_number.values():
                self._close(inode)
            for device, anchor in self._anchors.items():
                if device != self.root.device:
                    os.close(anchor)

    # ---- under the lock ------------------------------------------------------------------------------

    def _used(self, inode: Inode) -> None:
        if not inode.kept and not inode.forgotten:
            self._recent[inode.number] = inode
            self._recent.move_to_end(inode.number)

    def _make_room(self) -> None:
        """Close the least recently used descriptors that nobody holds, down to the limit."""
        for _ in range(len(self._recent) - self._limit):
            number, inode = self._recent.popitem(last=False)
            if inode.borrowers:
                self._recent[number] = inode
            else:
                inode.handle = kernel.file_handle(inode.descriptor)
                self._close(inode)

    def _close(self, inode: Inode) -> None:
        if inode.descriptor >= 0:
            os.close(inode.descriptor)
            inode.descriptor = -1

    def _adopt(self, inode: Inode, descriptor: int) -> None:
        """Take a new descriptor for an inode whose own was closed. If its file went meanwhile and another
        got its inode number, the generation tells the kernel, which drops what it knew."""
        if inode.handle is not None and inode.handle != kernel.file_handle(descriptor):
            inode.generation += 1
        inode.descriptor, inode.handle = descriptor, None

    def _reopen(self, inode: Inode) -> int:
        self._make_room()
        anchor = self._anchors.get(inode.device)
        if self._by_handle and anchor is not None and inode.handle is not None:
            return kernel.open_by_handle(anchor, inode.handle)
        return _open_by_names(inode)

    def _anchor(self, inode: Inode) -> None:
        """Keep one directory of each further filesystem open: open_by_handle_at(2) wants one."""
        if inode.device not in self._anchors:
            with suppress(OSError):  # a single file bound into the tree is none: its names lead to it
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                self._anchors[inode.device] = os.open(f"/proc/self/fd/{inode.descriptor}", flags)

    def _number(self, st: FileId) -> int:
        """A number for a new inode: the backing's own where possible, and always the same for the same file
        while it is known, so that hard links are recognised by st_ino.

        Files of further filesystems below the backing would collide with those of the first, and be taken
        for their hard links, so each filesystem's numbers begin elsewhere.
        """
        device = self._devices.setdefault(st.st_dev, len(self._devices))
        number = (st.st_ino + (device << DEVICE_BITS)) % NUMBERS
        while number <= ROOT or number in self._by_number:
            number = (number + (1 << DEVICE_BITS) + 1) % NUMBERS
        return number


def _open_by_names(inode: Inode) -> int:
    """Open by the names last seen, down from the nearest ancestor that is open (the root always is)."""
    steps = [inode]
    while (parent := steps[-1].parent) is not None and parent.descriptor < 0:
        steps.append(parent)
    assert parent is not None, "the root is never closed"
    descriptor = _open_same(steps.pop(), parent.descriptor)
    while steps:
        directory = descriptor
        try:
            descriptor = _open_same(steps.pop(), directory)
        finally:
            os.close(directory)
    return descriptor


def _open_same(inode: Inode, directory: int) -> int:
    """Open the inode's last name; ESTALE if that leads to nothing, or to another file by now."""
    try:
        descriptor = os.open(inode.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from error
    st = os.fstat(descriptor)
    same = (st.st_dev, st.st_ino) == (inode.device, inode.ino)
    if not same or (inode.handle is not None and inode.handle != kernel.file_handle(descriptor)):
        os.close(descriptor)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return descriptor


def _may_open_by_handle(root: int) -> bool:
    """Whether this process and this filesystem allow it: tried, not guessed."""
    handle = kernel.file_handle(root)
    if handle is None:
        return False
    try:
        os.close(kernel.open_by_handle(root, handle))
    except OSError:
        return False
    return True
