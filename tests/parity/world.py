"""A directory tree and the operations that a random program does in it; every result can be compared.

Names and handles are few, so that operations meet: a file is renamed while open, copied onto itself, unlinked
between two writes. Numbers are offsets near block boundaries.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from tests.mount.sides import data_map

libc = ctypes.CDLL(None, use_errno=True)

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16

OPEN_FLAGS = (
    os.O_RDWR,
    os.O_RDWR | os.O_CREAT,
    os.O_RDWR | os.O_CREAT | os.O_EXCL,
    os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    os.O_WRONLY | os.O_CREAT | os.O_APPEND,
    os.O_RDONLY,
)
ALLOCATIONS = (0, KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE)
RENAMES = (0, RENAME_NOREPLACE, RENAME_EXCHANGE)


class World:
    """The tree below `root`, and a few open files. Methods return what a program would see."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: dict[int, int] = {}

    def close(self) -> None:
        """Close every handle."""
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def do(self, operation: str, arguments: tuple[object, ...]) -> object:
        """Carry out one operation; its result, or the name of its errno."""
        act: Callable[..., object] = getattr(self, operation)
        try:
            return act(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    # ---- open files ----------------------------------------------------------------------------------

    def open(self, slot: int, name: str, flags: int) -> None:
        fd = os.open(self.root / name, flags, 0o644)
        self._drop(slot)
        self._open[slot] = fd

    def release(self, slot: int) -> bool:
        return self._drop(slot)

    def write(self, slot: int, off: int, length: int, seed: int) -> int:
        return os.pwrite(self._fd(slot), bytes([seed % 255 + 1]) * length, off)

    def read(self, slot: int, off: int, length: int) -> bytes:
        return os.pread(self._fd(slot), length, off)

    def ftruncate(self, slot: int, size: int) -> int:
        os.ftruncate(self._fd(slot), size)
        return os.fstat(self._fd(slot)).st_size

    def fallocate(self, slot: int, mode: int, off: int, length: int) -> int:
        result = libc.fallocate(self._fd(slot), mode, ctypes.c_int64(off), ctypes.c_int64(length))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return os.fstat(self._fd(slot)).st_size

    def fsync(self, slot: int) -> tuple[int, int]:
        os.fsync(self._fd(slot))
        st = os.fstat(self._fd(slot))
        return st.st_size, st.st_nlink

    def copy(self, source: int, destination: int, off_in: int, off_out: int, length: int) -> int:
        """As cp does it, to the end: a filesystem may carry any part of a range in one call."""
        fd_in, fd_out = self._fd(source), self._fd(destination)
        if os.path.sameopenfile(fd_in, fd_out):
            # Whether a range that grows while it is copied overlaps in the end depends on where each call
            # happened to stop; overlap as such is tested elsewhere.
            length = min(length, abs(off_in - off_out))
        copied = 0
        while copied < length:
            count = os.copy_file_range(fd_in, fd_out, length - copied, off_in + copied, off_out + copied)
            if count == 0:
                break
            copied += count
        return copied

    def overlap(self, slot: int, off: int, shift: int, length: int) -> int:
        """One copy within a file onto itself: EINVAL unless it ends before it reaches itself."""
        fd = self._fd(slot)
        if shift >= length or off + length > os.fstat(fd).st_size:
            return 0
        return os.copy_file_range(fd, fd, length, off, off + shift)

    # ---- names ---------------------------------------------------------------------------------------

    def rename(self, old: str, new: str, flags: int) -> None:
        source, target = os.fsencode(self.root / old), os.fsencode(self.root / new)
        if libc.renameat2(-100, source, -100, target, flags) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def link(self, old: str, new: str) -> int:
        os.link(self.root / old, self.root / new, follow_symlinks=False)
        return os.lstat(self.root / new).st_nlink

    def unlink(self, name: str) -> None:
        os.unlink(self.root / name)

    def mkdir(self, name: str) -> None:
        os.mkdir(self.root / name)

    def rmdir(self, name: str) -> None:
        os.rmdir(self.root / name)

    def symlink(self, target: str, name: str) -> str:
        os.symlink(target, self.root / name)
        return os.readlink(self.root / name)

    def listing(self, name: str) -> list[str]:
        return sorted(os.listdir(self.root / name))

    # ---- attributes ----------------------------------------------------------------------------------

    def chmod(self, name: str, mode: int) -> int:
        os.chmod(self.root / name, mode)
        return stat.S_IMODE(os.stat(self.root / name).st_mode)

    def utime(self, name: str, atime: int, mtime: int) -> tuple[int, int]:
        os.utime(self.root / name, ns=(atime, mtime), follow_symlinks=False)
        st = os.lstat(self.root / name)
        return st.st_atime_ns, st.st_mtime_ns

    def setxattr(self, name: str, key: int, value: bytes, flags: int) -> list[str]:
        os.setxattr(self.root / name, f"user.{key}", value, flags)
        return sorted(os.listxattr(self.root / name))

    def removexattr(self, name: str, key: int) -> None:
        os.removexattr(self.root / name, f"user.{key}")

    # ---- the whole -----------------------------------------------------------------------------------

    def everything(self) -> dict[str, tuple[object, ...]]:
        """Each entry of the tree: what kind, mode, links, attributes, and all it holds."""
        found: dict[str, tuple[object, ...]] = {}
        for directory, directories, files in os.walk(self.root):
            for name in (*directories, *files):
                path = Path(directory, name)
                found[str(path.relative_to(self.root))] = _entry(path)
        return found

    def holes(self) -> dict[str, list[tuple[int, int]]]:
        """Where each file has data, once all of it is on the disk."""
        maps = {}
        for directory, _, files in os.walk(self.root):
            for path in (Path(directory, name) for name in files):
                if path.is_file() and not path.is_symlink():
                    maps[str(path.relative_to(self.root))] = _map(path)
        return maps

    def _fd(self, slot: int) -> int:
        if slot not in self._open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._open[slot]

    def _drop(self, slot: int) -> bool:
        fd = self._open.pop(slot, None)
        if fd is not None:
            os.close(fd)
        return fd is not None


def _entry(path: Path) -> tuple[object, ...]:
    st = path.lstat()
    # The size and the link count of a directory are the filesystem's own affair, but the same on one.
    common = (st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_size)
    if stat.S_ISLNK(st.st_mode):
        return (*common, os.readlink(path))
    attributes = {key: os.getxattr(path, key) for key in os.listxattr(path)}
    content = path.read_bytes() if stat.S_ISREG(st.st_mode) else b""
    return (*common, attributes, content)


def _map(path: Path) -> list[tuple[int, int]]:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        return data_map(fd)
    finally:
        os.close(fd)
