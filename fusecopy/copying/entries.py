"""One entry of a tree: open it, make its like elsewhere, give that the same attributes (tree.h).

Names are single components, relative to open directories; nothing follows a symbolic link or crosses a mount
point. Methods block, without the interpreter's lock, and raise OSError.
"""

import errno
import os
import stat
from typing import TYPE_CHECKING

from fusecopy.copying._native import ffi, lib
from fusecopy.copying.calls import check

if TYPE_CHECKING:
    from fusecopy.copying._native import FcEntry

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
FILE = os.O_RDONLY | os.O_NONBLOCK
"""How each kind is opened; O_NONBLOCK so that a fifo which has taken a file's name is not waited for."""

TRIES = 5
"""How often an entry may turn out to be of another kind than it was a moment before."""

_OPENED = {stat.S_IFDIR: DIRECTORY, stat.S_IFREG: FILE}
"""How entries are opened, by kind; all others by O_PATH, which acts on none."""

_ANOTHER_KIND = (errno.ELOOP, errno.ENOTDIR, errno.ENXIO)
"""What opening answers where a symbolic link, something else, or a socket has taken the name meanwhile."""


class Source:
    """An open entry and what it was when it was opened."""

    __slots__ = ("_native", "fd")

    def __init__(self, fd: int, native: "FcEntry") -> None:
        self.fd = fd
        self._native = native

    @classmethod
    def at(cls, directory: int, path: bytes, flags: int) -> "Source":
        """Open `path` below a directory.

        Raises:
            OSError: EXDEV where another filesystem is mounted on it, ELOOP where a symbolic link is met.
        """
        native = ffi.new("struct fc_entry *")
        return cls(check(lib.fc_open_entry(directory, path, flags, native)), native)

    @classmethod
    def of(cls, fd: int) -> "Source":
        """What is open already; the descriptor becomes the source's."""
        native = ffi.new("struct fc_entry *")
        check(lib.fc_describe(fd, native))
        return cls(fd, native)

    @property
    def file(self) -> tuple[int, int]:
        """st_dev and st_ino."""
        return self._native.device, self._native.ino

    @property
    def mode(self) -> int:
        """st_mode."""
        return int(self._native.mode)

    @property
    def size(self) -> int:
        """Bytes, of a file."""
        return int(self._native.size)

    @property
    def links(self) -> int:
        """st_nlink."""
        return int(self._native.links)

    def create_file(self, directory: int, name: bytes, clone: bool) -> tuple[int, int]:
        """A new file, open for writing, and what cloning all of the source into it gave: 0 or an errno.

        Without `clone` it is empty, and the second is 0.
        """
        cloned = ffi.new("int *")
        fd = check(lib.fc_create_file(self.fd, directory, name, self._native, clone, cloned))
        return fd, int(cloned[0])

    def create_other(self, directory: int, name: bytes) -> int:
        """A new symbolic link or special file, open with O_PATH. EPERM for a device without CAP_MKNOD."""
        if stat.S_ISLNK(self.mode):
            os.symlink(os.readlink(b"", dir_fd=self.fd), name, dir_fd=directory)
        else:
            os.mknod(name, self.mode & ~0o7077, int(self._native.rdev), dir_fd=directory)
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)

    def copy_attributes(self, destination: int) -> None:
        """Owner, extended attributes, mode, ACLs and times, as far as this thread may set them.

        An owner that cannot be kept becomes the caller, and the setuid and setgid bits then go.
        """
        check(lib.fc_copy_attributes(self.fd, destination, self._native))

    def close(self) -> None:
        """Close it."""
        os.close(self.fd)


def create_directory(parent: int, name: bytes) -> int:
    """A new directory for its owner alone, without ACLs inherited; open. None is left after an error."""
    os.mkdir(name, stat.S_IRWXU, dir_fd=parent)
    fd = -1
    try:
        fd = os.open(name, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        drop_acls(fd)
    except BaseException:
        if fd >= 0:
            os.close(fd)
        os.rmdir(name, dir_fd=parent)
        raise
    return fd


def drop_acls(fd: int) -> None:
    """Take away the ACLs that a new file or directory has inherited."""
    check(lib.fc_drop_acls(fd))


def opened(directory: int, name: bytes, listed: int) -> Source | None:
    """An entry, open as its kind is; None where it is gone. `listed` is what its directory said it is."""
    flags = _OPENED.get(listed, os.O_PATH)
    for _ in range(TRIES):
        try:
            source = Source.at(directory, name, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _ANOTHER_KIND:
                raise
            flags = os.O_PATH
            continue
        actual = _OPENED.get(stat.S_IFMT(source.mode), os.O_PATH)
        if actual == flags:
            return source
        source.close()
        flags = actual
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def listed(directory: int) -> dict[int, list[bytes]]:
    """The names in a directory by kind, as far as the listing tells: S_IFDIR, S_IFREG, 0 for others."""
    names: dict[int, list[bytes]] = {stat.S_IFDIR: [], 0: [], stat.S_IFREG: []}
    with os.scandir(directory) as listing:
        for entry in listing:
            names[_kind(entry)].append(os.fsencode(entry.name))
    return names


def _kind(entry: "os.DirEntry[str]") -> int:
    if entry.is_file(follow_symlinks=False):
        return stat.S_IFREG
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else 0
