"""Directory entries: look up, create, link, rename and remove them.

Names arrive as single components; every call is relative to a directory's descriptor and follows no symbolic
link, so nothing leads out of the backing directory. Methods block, raise OSError, and may run in any thread.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import pyfuse3

from fusecopy.dispatch.renames import Change, Removed, Renamed
from fusecopy.filesystem import kernel
from fusecopy.filesystem.credentials import Context, Credentials
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.native import opening, unlinking
from fusecopy.native.inodes import ROOT, Inode
from fusecopy.serving import Entry

OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Names:
    """Operations on names.

    Args:
        renamed: is told of what has got another name, so that what is said of it tells that.
        removed: is told of what has lost its last name, by st_dev and st_ino: nobody asks for its copies.
    """

    def __init__(
        self,
        inodes: InodeTable,
        credentials: Credentials,
        renamed: Callable[[Change], None],
        removed: Callable[[int, int], None],
    ) -> None:
        self._inodes = inodes
        self._credentials = credentials
        self._renamed = renamed
        self._removed = removed

    def lookup(self, parent: int, name: bytes) -> Entry:
        """Find `name` and count a look-up of it."""
        check_component(name)
        with self._inodes.opened(parent) as directory:
            return _look_up(directory, name)

    def forget(self, lookups: Sequence[tuple[int, int]]) -> None:
        """Take back look-ups: (number, how many) each."""
        self._inodes.forget(lookups)

    def run_out(self) -> None:
        """Descriptors have run out: give back those that can be opened again."""
        self._inodes.run_out()

    def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: Context
    ) -> tuple[int, Inode, Entry]:
        """Create and open a regular file as the caller; returns the open descriptor, its inode and entry."""
        check_component(name)
        return self._create(parent, name, mode, flags, ctx)

    def create_unnamed(self, parent: int, mode: int, flags: int, ctx: Context) -> tuple[int, Inode, Entry]:
        """The same for a file without a name, until linkat(2) gives it one (O_TMPFILE)."""
        fd, inode, entry = self._create(parent, None, mode, flags, ctx)
        inode.keep_open()
        return fd, inode, entry

    def mknod(self, parent: int, name: bytes, mode: int, device: int, ctx: Context) -> Entry:
        """Create a regular or special file as the caller."""
        check_component(name)
        with self._inodes.opened(parent) as directory:
            where = directory.descriptor
            with _spare(where):
                self._credentials.create(ctx, lambda: os.mknod(name, mode, device, dir_fd=where))
            return _look_up(directory, name)

    def mkdir(self, parent: int, name: bytes, mode: int, ctx: Context) -> Entry:
        """Create a directory as the caller."""
        check_component(name)
        with self._inodes.opened(parent) as directory:
            where = directory.descriptor
            with _spare(where):
                self._credentials.create(ctx, lambda: os.mkdir(name, stat.S_IMODE(mode), dir_fd=where))
            return _look_up(directory, name)

    def symlink(self, parent: int, name: bytes, target: bytes, ctx: Context) -> Entry:
        """Create a symbolic link as the caller."""
        check_component(name)
        with self._inodes.opened(parent) as directory:
            where = directory.descriptor
            with _spare(where):
                self._credentials.act(ctx, lambda: os.symlink(target, name, dir_fd=where))
            return _look_up(directory, name)

    def link(self, number: int, parent: int, name: bytes, ctx: Context) -> Entry:
        """Give a file another name."""
        check_component(name)
        with self._inodes.opened(number) as inode, self._inodes.opened(parent) as directory:
            # Through /proc the link goes to the very file, whatever its first name has become; linkat(2)
            # with AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.
            path, where = f"/proc/self/fd/{inode.descriptor}", directory.descriptor
            unnamed = os.fstat(inode.descriptor).st_nlink == 0
            with _spare(where):
                self._credentials.spend(
                    ctx, lambda: os.link(path, name, dst_dir_fd=where, follow_symlinks=True)
                )
            if unnamed:
                before = inode.path()
                inode.named(directory, name)
                self._renamed(Renamed(before, inode.path(), None))
            return _look_up(directory, name)

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove the name of anything but a directory."""
        check_component(name)
        with self._inodes.opened(parent) as directory, self._losing(directory, name):
            os.unlink(name, dir_fd=directory.descriptor)

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        check_component(name)
        with self._inodes.opened(parent) as directory, self._losing(directory, name):
            os.rmdir(name, dir_fd=directory.descriptor)

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: Context
    ) -> None:
        """Rename, replacing, refusing to replace, or exchanging."""
        check_component(name)
        check_component(new_name)
        with self._inodes.opened(parent) as old, self._inodes.opened(new_parent) as new:
            from_, to = old.descriptor, new.descriptor
            paths = _path(old, name), _path(new, new_name)
            with self._losing(new, new_name) if flags == 0 else nullcontext():
                self._credentials.spend(ctx, lambda: kernel.rename(from_, name, to, new_name, flags))
            self._renamed(Renamed(*paths, paths[0] if flags & pyfuse3.RENAME_EXCHANGE else paths[1]))
            unlinking.moved(old, name, new, new_name, bool(flags & pyfuse3.RENAME_EXCHANGE))

    def readlink(self, number: int) -> bytes:
        """The target of a symbolic link."""
        with self._inodes.borrow(number) as descriptor:
            return os.readlink(b"", dir_fd=descriptor)

    def _create(
        self, parent: int, name: bytes | None, mode: int, flags: int, ctx: Context
    ) -> tuple[int, Inode, Entry]:
        with self._inodes.opened(parent) as directory:
            where = directory.descriptor
            fd, found = self._credentials.act(
                ctx, lambda: opening.create(where, name, flags, mode, ctx.umask)
            )
            try:
                # Without a name it is called as the kernel calls it (d_tmpfile).
                called = b"#%d" % os.fstat(found).st_ino if name is None else name
                entry, inode = Entry.entered(found, directory, called)
            except BaseException:
                os.close(fd)
                raise
        return fd, inode, entry

    @contextmanager
    def _losing(self, directory: Inode, name: bytes) -> Iterator[None]:
        """Within this a name is taken away; what has another is called by that from now on."""
        with unlinking.losing(directory, name) as loss:
            yield
        path = _path(directory, name)
        if loss.still_named:
            self._renamed(Renamed(path, loss.still_named.path(), None))
        elif loss.known:
            self._renamed(Removed(path))
            if loss.is_only:
                self._removed(loss.known.device, loss.known.ino)


@contextmanager
def _spare(descriptor: int) -> Iterator[None]:
    """Have a descriptor for what is made in this block: where there is none left nothing is made, and all may
    be tried again."""
    spare = os.dup(descriptor)
    try:
        yield
    finally:
        os.close(spare)


def _path(directory: Inode, name: bytes) -> bytes:
    """Relative to the root of the mount, by the names last seen."""
    return name if directory.number == ROOT else directory.path() + b"/" + name


def _look_up(directory: Inode, name: bytes) -> Entry:
    entry, _ = Entry.entered(os.open(name, OPEN_PATH, dir_fd=directory.descriptor), directory, name)
    return entry


def check_component(name: bytes) -> None:
    """The kernel resolves these two itself; as a name from elsewhere they would lead out of the backing."""
    if name in (b".", b".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
