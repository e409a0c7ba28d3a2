"""Directory entries: look up, create, link, rename and remove them.

Names arrive as single components; every call is relative to a directory's descriptor and follows no symbolic
link, so nothing leads out of the backing directory. Methods block, raise OSError, and may run in any thread.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pyfuse3

from fusecopy.dispatch.renames import Change, Removed, Renamed
from fusecopy.filesystem import kernel
from fusecopy.filesystem.attributes import told
from fusecopy.filesystem.credentials import Context, Credentials
from fusecopy.filesystem.inode import Inode
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.native import watching
from fusecopy.serving import Entry

OPEN_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
CREATE_FLAGS = os.O_ACCMODE | os.O_EXCL | os.O_TRUNC | os.O_SYNC | os.O_DSYNC | os.O_NOATIME


class Names:
    """Operations on names.

    Args:
        timeout: how long, in seconds, the kernel may believe what it is told.
        renamed: is told of what has got another name, so that what is said of it tells that.
    """

    def __init__(
        self,
        inodes: InodeTable,
        credentials: Credentials,
        timeout: float,
        renamed: Callable[[Change], None],
    ) -> None:
        self._inodes = inodes
        self._credentials = credentials
        self._timeout = timeout
        self._renamed = renamed

    def lookup(self, parent: int, name: bytes) -> Entry:
        """Find `name` and count a look-up of it."""
        check_component(name)
        with self._inodes.borrow(parent) as directory:
            return self._enter(os.open(name, OPEN_PATH, dir_fd=directory), parent, name)

    def forget(self, lookups: Sequence[tuple[int, int]]) -> None:
        """Take back look-ups: (number, how many) each."""
        self._inodes.forget(lookups)

    def run_out(self) -> None:
        """Descriptors have run out: give back those that can be opened again."""
        self._inodes.run_out()

    def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: Context
    ) -> tuple[int, Inode, Entry]:
        """Create and open a regular file as the caller; returns the open descriptor, its inode and entry.

        O_APPEND is not passed on: the kernel gives each write its offset, and a copy into a descriptor
        opened with it fails with EBADF (copy_file_range(2)). O_DIRECT is not either: the kernel leaves out
        its own cache for it, and the requests' buffers are not aligned.
        """
        check_component(name)
        flags = flags & CREATE_FLAGS | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._inodes.borrow(parent) as directory:
            fd, descriptor = self._credentials.act(
                ctx, lambda: kernel.create(directory, name, flags, mode, ctx.umask)
            )
            try:
                entry = self._enter(descriptor, parent, name)
            except BaseException:
                os.close(fd)
                raise
        return fd, self._inodes.get(entry.number), entry

    def create_unnamed(self, parent: int, mode: int, flags: int, ctx: Context) -> tuple[int, Inode, Entry]:
        """The same for a file without a name, until linkat(2) gives it one (O_TMPFILE)."""
        flags = flags & CREATE_FLAGS & ~os.O_TRUNC | os.O_TMPFILE | os.O_CLOEXEC
        with self._inodes.borrow(parent) as directory:
            fd, descriptor = self._credentials.act(
                ctx, lambda: kernel.create(directory, b".", flags, mode, ctx.umask)
            )
        entry = Entry.of(descriptor)
        inode = self._inodes.enter_unnamed(descriptor, entry, self._inodes.get(parent))
        return fd, inode, told(inode, entry, self._timeout)

    def mknod(self, parent: int, name: bytes, mode: int, device: int, ctx: Context) -> Entry:
        """Create a regular or special file as the caller."""
        check_component(name)
        with self._inodes.borrow(parent) as directory:
            with _spare(directory):
                self._credentials.create(ctx, lambda: os.mknod(name, mode, device, dir_fd=directory))
            return self._created(directory, parent, name)

    def mkdir(self, parent: int, name: bytes, mode: int, ctx: Context) -> Entry:
        """Create a directory as the caller."""
        check_component(name)
        with self._inodes.borrow(parent) as directory:
            with _spare(directory):
                self._credentials.create(ctx, lambda: os.mkdir(name, stat.S_IMODE(mode), dir_fd=directory))
            return self._created(directory, parent, name)

    def symlink(self, parent: int, name: bytes, target: bytes, ctx: Context) -> Entry:
        """Create a symbolic link as the caller."""
        check_component(name)
        with self._inodes.borrow(parent) as directory:
            with _spare(directory):
                self._credentials.act(ctx, lambda: os.symlink(target, name, dir_fd=directory))
            return self._created(directory, parent, name)

    def link(self, number: int, parent: int, name: bytes, ctx: Context) -> Entry:
        """Give a file another name."""
        check_component(name)
        with self._inodes.borrow(number) as descriptor, self._inodes.borrow(parent) as directory:
            # Through /proc the link goes to the very file, whatever its first name has become; linkat(2)
            # with AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH.
            path = f"/proc/self/fd/{descriptor}"
            unnamed = os.fstat(descriptor).st_nlink == 0
            with _spare(directory):
                self._credentials.spend(
                    ctx, lambda: os.link(path, name, dst_dir_fd=directory, follow_symlinks=True)
                )
            if unnamed:
                inode = self._inodes.get(number)
                before = inode.path()
                self._inodes.named(inode, self._inodes.get(parent), name)
                self._renamed(Renamed(before, inode.path(), None))
            return self._created(directory, parent, name)

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove the name of anything but a directory."""
        check_component(name)
        with self._inodes.borrow(parent) as directory:
            self._lose(directory, parent, name, lambda: os.unlink(name, dir_fd=directory))

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        check_component(name)
        with self._inodes.borrow(parent) as directory:
            self._lose(directory, parent, name, lambda: os.rmdir(name, dir_fd=directory))

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: Context
    ) -> None:
        """Rename, replacing, refusing to replace, or exchanging."""
        check_component(name)
        check_component(new_name)
        with self._inodes.borrow(parent) as old, self._inodes.borrow(new_parent) as new:
            paths = self._path(parent, name), self._path(new_parent, new_name)

            def rename() -> None:
                self._credentials.spend(ctx, lambda: kernel.rename(old, name, new, new_name, flags))

            if flags == 0:
                self._lose(new, new_parent, new_name, rename)
            else:
                rename()
            self._renamed(Renamed(*paths, paths[0] if flags & pyfuse3.RENAME_EXCHANGE else paths[1]))
            moved = self._seen(new, new_parent, new_name)
            if flags & pyfuse3.RENAME_EXCHANGE and (exchanged := self._seen(old, parent, name)):
                self._gone(exchanged, new, new_parent, new_name)
            if moved:
                self._gone(moved, old, parent, name)

    def readlink(self, number: int) -> bytes:
        """The target of a symbolic link."""
        with self._inodes.borrow(number) as descriptor:
            return os.readlink(b"", dir_fd=descriptor)

    # ---- helpers -------------------------------------------------------------------------------------

    def _enter(self, descriptor: int, parent: int, name: bytes) -> Entry:
        try:
            entry = Entry.of(descriptor)
            where = self._inodes.get(parent)
        except BaseException:
            os.close(descriptor)
            raise
        timeout = watching.limit(parent, self._timeout)
        return told(self._inodes.enter(descriptor, entry, where, name), entry, timeout)

    def _created(self, directory: int, parent: int, name: bytes) -> Entry:
        return self._enter(os.open(name, OPEN_PATH, dir_fd=directory), parent, name)

    def _lose(self, directory: int, parent: int, name: bytes, take: Callable[[], None]) -> None:
        """Have `take` take a name away: the kernel may know the file (it is open, or somebody's working
        directory), and without a name only its descriptor leads to it."""
        st = _status(directory, name)
        if st is None or (known := self._inodes.keep(st)) is None:
            take()
            return
        try:
            take()
        except BaseException:
            self._inodes.give_back(known)
            raise
        unnamed = self._gone(known, directory, parent, name)
        path = self._path(parent, name)
        self._renamed(Removed(path) if unnamed else Renamed(path, known.path(), None))
        # Of two hard links that go at once neither sees that the other goes, so two are counted again; a
        # link made since merely has the descriptor stay open.
        only = st.st_nlink == 1 or stat.S_ISDIR(st.st_mode)
        self._inodes.settle(known, unnamed=unnamed, last=only)

    def _seen(self, directory: int, parent: int, name: bytes) -> Inode | None:
        """The inode that the kernel knows of what now has this name."""
        st = _status(directory, name)
        known = self._inodes.find(st) if st else None
        if known is not None:
            self._inodes.seen(known, self._inodes.get(parent), name)
        return known

    def _gone(self, known: Inode, directory: int, parent: int, name: bytes) -> bool:
        """A name was taken from an inode, unless it has it still (rename(2) of two names of one file does
        nothing). Whether it has none left that is known.

        A name that it had besides may have been taken from it behind the mount's back.
        """
        if _leads_to(directory, name, known):
            return False
        seen = known.seen
        unnamed = self._inodes.lost(known, self._inodes.get(parent), name)
        while not unnamed and known.seen != seen and not self._is_seen(known):
            unnamed = self._inodes.lost(known, *known.seen)
        return unnamed

    def _path(self, parent: int, name: bytes) -> bytes:
        """Relative to the root of the mount, by the names last seen."""
        above = self._inodes.get(parent)
        return name if above is self._inodes.root else above.path() + b"/" + name

    def _is_seen(self, known: Inode) -> bool:
        """Whether the name last seen leads to an inode."""
        parent, name = known.seen
        if parent is None:
            return True
        try:
            with self._inodes.borrow(parent.number) as directory:
                return _leads_to(directory, name, known)
        except OSError:  # that directory is gone, too
            return False


@contextmanager
def _spare(descriptor: int) -> Iterator[None]:
    """Have a descriptor for what is made in this block: where there is none left nothing is made, and all may
    be tried again."""
    spare = os.dup(descriptor)
    try:
        yield
    finally:
        os.close(spare)


def _leads_to(directory: int, name: bytes, inode: Inode) -> bool:
    st = _status(directory, name)
    return st is not None and (st.st_dev, st.st_ino) == (inode.device, inode.ino)


def _status(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def check_component(name: bytes) -> None:
    """The kernel resolves these two itself; as a name from elsewhere they would lead out of the backing."""
    if name in (b".", b".."):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
