"""Open regular files, by the handle the kernel returns with each request."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from fusecopy.copying import calls
from fusecopy.copying.calls import FileId
from fusecopy.native import files
from fusecopy.native.files import NativeFile
from fusecopy.observe.caller import Caller
from fusecopy.reporting.flows import Flows

LATEST = 32
"""Of the files that a process has read and holds open still, so many may be what it has written copies of."""

_Key = tuple[str, int, int | None]
"""Process or group, its number, and a size in bytes or None for any."""


BLOCK = 512
"""The unit of st_blocks, whatever the file system's block size."""


class Room(NamedTuple):
    """What a file takes: bytes from its beginning to its end, and blocks of BLOCK bytes."""

    size: int
    blocks: int


class OpenFile:
    """One open of one file, and what is known of it besides.

    Attributes:
        native: what serves its READs and WRITEs and counts them.
        inode: the file.
        fh: the file handle.
        flows: what is known of the copies that go through this handle.
        holders: who still needs its descriptor; it is released when they are done.
        end: what its release does; known once it was released.
    """

    __slots__ = ("end", "fh", "flows", "holders", "inode", "native")

    def __init__(self, native: NativeFile) -> None:
        self.native = native
        self.inode = native.inode
        self.fh = native.fh
        self.flows = Flows()
        self.holders = 0
        self.end: Callable[[OpenFile], None] | None = None

    @property
    def fd(self) -> int:
        """The backing descriptor, with the access mode the program asked for."""
        return self.native.fd

    @property
    def unseen(self) -> bool:
        """Whether the kernel reads and writes it by itself."""
        return self.native.unseen

    @property
    def thread(self) -> int:
        """The thread that opened it."""
        return self.native.thread

    @property
    def opened_ns(self) -> int:
        """CLOCK_MONOTONIC of its opening."""
        return self.native.opened_ns

    @property
    def writable(self) -> bool:
        """Whether it was opened to write."""
        return self.native.writable

    @property
    def file(self) -> FileId:
        """Which file it is."""
        return calls.file_id(self.fd)

    def path(self) -> bytes:
        """The file's path, relative to the mount's root."""
        return self.inode.path()

    def size(self) -> int:
        """The file's size now, in bytes; what the kernel was last told where the backing has lost it."""
        return self.room().size

    def room(self) -> "Room":
        """The file's size and blocks now, or as far as they are known where the backing has lost the file: it
        is gone from a server, or its device is (ESTALE, ENOENT, EIO)."""
        try:
            st = os.fstat(self.fd)
        except OSError:
            size = max(self.told_size(), 0)
            return Room(size, -(-size // BLOCK))
        return Room(st.st_size, st.st_blocks)

    def told_size(self) -> int:
        """The size that the kernel was last told; -1 once it has forgotten the file."""
        return self.inode.told_size


class OpenFiles:
    """All open files of the mount: the table is in C (native/files.c). Here is kept what is known of a file
    besides, from when somebody asks for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, OpenFile] = {}

    def get(self, fh: int) -> OpenFile:
        """The file behind a handle that a request has brought."""
        # No lock: one look into a dict is atomic.
        return self._known.get(fh) or self._of(files.of_handle(fh))

    def _of(self, native: NativeFile) -> OpenFile:
        with self._lock:
            known = self._known.get(native.fh)
            if known is None:
                known = OpenFile(native)
                if native.is_open:
                    self._known[known.fh] = known
        return known

    @contextmanager
    def borrowed(self, file: OpenFile) -> Iterator[int]:
        """A descriptor of its own for a file that may be released meanwhile; EBADF if it was already."""
        with self._lock:
            if not file.native.is_open:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            descriptor = os.dup(file.fd)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def held(self, *files: OpenFile) -> Iterator[None]:
        """Keep files whose handles are still the kernel's from being released: what their release does
        follows when the last holder is done."""
        with self._lock:
            for file in files:
                file.holders += 1
        try:
            yield
        finally:
            with self._lock:
                for file in files:
                    file.holders -= 1
                ended = [file for file in dict.fromkeys(files) if file.end and not file.holders]
            for file in ended:
                assert file.end
                file.end(file)

    def release(self, file: OpenFile, end: Callable[[OpenFile], None]) -> None:
        """Have `end` close a file that was taken out, once nobody holds it any more."""
        with self._lock:
            file.end = end
            held = file.holders > 0
        if not held:
            end(file)

    def remove(self, fh: int) -> OpenFile:
        """Take a released file out; closing it is the caller's."""
        file = self.get(fh)
        with self._lock:
            self._known.pop(fh, None)
            file.native.take_out()
        return file

    def all(self) -> list[OpenFile]:
        """A snapshot of the open files."""
        return [self._of(native) for native in files.every()]

    def __len__(self) -> int:
        """How many there are."""
        return files.count()


class Readers:
    """Open files by the processes, and their groups, that have read them. Not locked.

    What a release costs must not grow with the number of open files, so they are found by who read them and
    by their size then.
    """

    def __init__(self) -> None:
        self._files: dict[_Key, dict[int, OpenFile]] = {}
        self._keys: dict[int, set[_Key]] = {}

    def add(self, file: OpenFile, reader: Caller) -> None:
        """`reader` reads `file` for the first time."""
        keys = {key for size in (None, file.size()) for key in _keys(reader, size)}
        self._keys.setdefault(file.fh, set()).update(keys)
        for key in keys:
            self._files.setdefault(key, {})[file.fh] = file

    def remove(self, file: OpenFile) -> None:
        """The file is about to be closed."""
        for key in self._keys.pop(file.fh, ()):
            files = self._files[key]
            del files[file.fh]
            if not files:
                del self._files[key]

    def near(self, caller: Caller, size: int) -> list[OpenFile]:
        """The files that a process and its group have read last, and of those of a size (in bytes) the last.

        Each is there once.
        """
        found: dict[int, OpenFile] = {}
        for key in [*_keys(caller, None), *_keys(caller, size)]:
            files = self._files.get(key, {})
            found.update(islice(((fh, files[fh]) for fh in reversed(files)), LATEST))
        return list(found.values())


def _keys(caller: Caller, size: int | None) -> list[_Key]:
    process: _Key = ("process", caller.pid, size)
    return [process, ("group", caller.group, size)] if caller.group else [process]
