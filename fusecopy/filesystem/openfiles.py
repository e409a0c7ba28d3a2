"""Open regular files, by the handle the kernel returns with each request."""

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fusecopy.filesystem.flows import Flows
from fusecopy.filesystem.inodes import Inode
from fusecopy.libfuse import NativeFile, nodes


class OpenFile:
    """One open of one file.

    Attributes:
        native: what serves its READs and WRITEs and counts them.
        inode: the file.
        opener: the thread that opened it.
        flows: what is known of the copies that go through this handle.
    """

    __slots__ = ("flows", "inode", "native", "opener")

    def __init__(self, native: NativeFile, inode: Inode, opener: int) -> None:
        self.native = native
        self.inode = inode
        self.opener = opener
        self.flows = Flows()

    @property
    def fd(self) -> int:
        """The backing descriptor, with the access mode the program asked for."""
        return self.native.fd

    @property
    def unseen(self) -> bool:
        """Whether the kernel reads and writes it by itself."""
        return self.native.unseen

    @property
    def fh(self) -> int:
        """The file handle."""
        return self.native.fh

    def size(self) -> int:
        """The file's size now, in bytes."""
        return os.fstat(self.fd).st_size

    def told_size(self) -> int:
        """The size that the kernel was last told; -1 once it has forgotten the file."""
        size = nodes.told_size(self.inode.number)
        return size if self.inode.lookups else -1  # looked at last: its number may be another's by then


class OpenFiles:
    """All open files of the mount."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[int, OpenFile] = {}

    def add(self, file: OpenFile) -> None:
        """Register a file that the kernel is about to be told of."""
        with self._lock:
            self._files[file.fh] = file

    def get(self, fh: int) -> OpenFile:
        """The file behind a handle; EBADF if there is none."""
        # No lock: one look into a dict is atomic.
        file = self._files.get(fh)
        if file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return file

    @contextmanager
    def borrowed(self, file: OpenFile) -> Iterator[int]:
        """A descriptor of its own for a file that may be released meanwhile; EBADF if it was already."""
        with self._lock:
            if self._files.get(file.fh) is not file:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            descriptor = os.dup(file.fd)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def remove(self, fh: int) -> OpenFile:
        """Take a released file out; closing it is the caller's."""
        file = self.get(fh)
        with self._lock:
            del self._files[fh]
        return file

    def all(self) -> list[OpenFile]:
        """A snapshot of the open files."""
        with self._lock:
            return list(self._files.values())
