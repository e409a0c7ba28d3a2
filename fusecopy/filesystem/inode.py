"""One file, directory or special file of the backing, as the kernel knows it by number."""

import msgspec
import pyfuse3

ROOT = pyfuse3.ROOT_INODE

DEEPEST = 4096
"""Directories moved behind the mount's back may, by the names last seen, lie in each other."""


class Inode(msgspec.Struct, eq=False, gc=False):
    """One file, directory or special file of the backing that the kernel knows.

    Attributes:
        number: what the kernel calls it, and st_ino in the mount.
        device, ino: st_dev and st_ino in the backing.
        seen: the directory and the name where it was last seen; no directory for the root. A tuple, so that
            no thread sees half of a move and however deep a tree is freed without recursion.
        descriptor: O_PATH descriptor, or -1 while closed.
        lookups: how often the kernel was told of it and has not forgotten it; 0 once it is forgotten.
        borrowers: users of the descriptor now; it is not closed under them.
        kept: no name leads to it any more (or it is the root), so the descriptor stays open.
        handle: file handle, known once the descriptor has been closed; tells it from a later file of the
            same number.
        generation: grows when another file takes over device and ino.
        elsewhere: its other names (hard links) as far as they were seen, the latest last.
    """

    number: int
    device: int
    ino: int
    seen: "tuple[Inode | None, bytes]"
    descriptor: int
    lookups: int = 0
    borrowers: int = 0
    kept: bool = False
    handle: bytes | None = None
    generation: int = 0
    elsewhere: "dict[tuple[Inode, bytes], None] | None" = None

    @property
    def parent(self) -> "Inode | None":
        """The directory where it was last seen."""
        return self.seen[0]

    @property
    def name(self) -> bytes:
        """The name last seen."""
        return self.seen[1]

    def see(self, parent: "Inode", name: bytes) -> None:
        """It was seen under this name, which may be a further one."""
        before, now = self.seen, (parent, name)
        if now == before:
            return
        self.seen = now
        if before[0] is not None:
            names = self.elsewhere or {}
            names.pop(now, None)
            names[before[0], before[1]] = None
            self.elsewhere = names

    def lose(self, parent: "Inode", name: bytes) -> bool:
        """This name is gone. Whether none is left that is known: then the last one still tells of it."""
        others = self.elsewhere or {}
        others.pop((parent, name), None)
        if self.seen == (parent, name):
            if not others:
                return True
            self.seen, _ = others.popitem()
        self.elsewhere = others or None
        return False

    def path(self) -> bytes:
        """Path relative to the root of the mount, by the names last seen."""
        names: list[bytes] = []
        parent, name = self.seen
        while parent is not None and len(names) < DEEPEST:
            names.append(name)
            parent, name = parent.seen
        return b"/".join(reversed(names)) or b"."
