"""Regular files that are open: open, flush, sync, allocate, seek, release, ioctl.

READ and WRITE are served by the native layer. Methods block, raise OSError, and may run in any thread.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pyfuse3

from fusecopy.filesystem import kernel
from fusecopy.filesystem._native import lib
from fusecopy.filesystem.accounts import Accounts
from fusecopy.filesystem.attributes import asked_again_if_failed
from fusecopy.filesystem.credentials import Context, Credentials
from fusecopy.filesystem.inode import Inode
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.names import Names
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.passthrough import Passthrough
from fusecopy.filesystem.privileges import drop_suidgid
from fusecopy.filesystem.refusals import Refusals
from fusecopy.native import nodes, watching
from fusecopy.native.entries import Entry, Opened
from fusecopy.native.files import NativeFile

OPEN_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_SYNC | os.O_DSYNC | os.O_NOATIME

READ_IOCTLS = (lib.FS_IOC_GETFLAGS, lib.FS_IOC_FSGETXATTR)
WRITE_IOCTLS = (lib.FS_IOC_SETFLAGS, lib.FS_IOC_FSSETXATTR)
"""Inode flags and project ids, as lsattr and chattr use them."""

SAME_FOR_ALL = (lib.BTRFS_SUPER_MAGIC, lib.XFS_SUPER_MAGIC, lib.TMPFS_MAGIC)
"""Filesystems that keep no blocks for some user id (Linux 6.1 to 7.2)."""

KEEPING_BLOCKS = (lib.BTRFS_SUPER_MAGIC, lib.EXT4_SUPER_MAGIC, lib.TMPFS_MAGIC)
"""Filesystems that take nothing back at a close, as XFS does what it allocated ahead (xfs_release)."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How files are opened.

    Attributes:
        noatime: reading leaves the backing's access times alone, where the server may do so.
        noflush: closing a file of the backing's filesystem reports nothing.
        keep_cache: pages that the kernel knows from before are still right.
    """

    noatime: bool
    noflush: bool
    keep_cache: bool


class Files:
    """Operations on open files."""

    def __init__(
        self,
        inodes: InodeTable,
        names: Names,
        files: OpenFiles,
        accounts: Accounts,
        credentials: Credentials,
        how: "Opening",
        passthrough: Passthrough,
        refusals: Refusals,
    ) -> None:
        self._refusals = refusals
        self._inodes = inodes
        self._names = names
        self._files = files
        self._accounts = accounts
        self._credentials = credentials
        self._noatime = os.O_NOATIME if how.noatime else 0
        self._how = how
        self._passthrough = passthrough
        with inodes.borrow(inodes.root.number) as root:
            self._root_type = kernel.filesystem_type(root)

    def open(self, number: int, flags: int, ctx: Context) -> Opened:
        """Open a file of the backing; for the flags left out see Names.create."""
        with self._inodes.borrow(number) as descriptor:
            fd = kernel.open_regular(descriptor, flags & OPEN_FLAGS | self._noatime | os.O_CLOEXEC)
        inode = self._inodes.get(number)
        opened = self._add(fd, flags, inode, ctx)
        if _is_changed_unseen(opened, flags) and nodes.expire(number):
            pyfuse3.invalidate_inode(number, attr_only=True)
        return opened

    def create(self, parent: int, name: bytes, mode: int, flags: int, ctx: Context) -> tuple[Opened, Entry]:
        """Create and open a file as the caller."""
        return self._created(flags, ctx, *self._names.create(parent, name, mode, flags, ctx))

    def create_unnamed(self, parent: int, mode: int, flags: int, ctx: Context) -> tuple[Opened, Entry]:
        """The same of a file without a name (O_TMPFILE)."""
        return self._created(flags, ctx, *self._names.create_unnamed(parent, mode, flags, ctx))

    def _created(self, flags: int, ctx: Context, fd: int, inode: Inode, entry: Entry) -> tuple[Opened, Entry]:
        opened = self._add(fd, flags, inode, ctx)
        if _is_changed_unseen(opened, flags):
            # What it is told now of an empty file it asks again when there are pages to map.
            nodes.expire(inode.number)
        return opened, entry

    def flush(self, fh: int) -> None:
        """What close(2) reports: the backing's own errors of delayed writes, as network filesystems have."""
        file = self._files.get(fh)
        if file.unseen or file.native.is_written:
            os.close(os.dup(file.fd))

    def fsync(self, fh: int, datasync: bool) -> None:
        """fsync(2) or fdatasync(2)."""
        fd = self._files.get(fh).fd
        if datasync:
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def release(self, fh: int) -> None:
        """The last descriptor of an open file is closed: settle its accounts and close it, once no proof
        needs it any more."""
        self._files.release(self._accounts.take_out(fh), self._end)

    def _end(self, file: OpenFile) -> None:
        try:
            self._accounts.settle(file)
        finally:
            blocks = None if self._keeps_blocks(file) else file.room().blocks
            with suppress(OSError):  # the descriptor is closed all the same, and nobody is there to be told
                os.close(file.fd)
            self._passthrough.released(file.inode)
            if blocks is not None:
                # Of one that the kernel wrote by itself it has closed a descriptor of its own before.
                self._check_blocks(file.inode, -1 if file.unseen else blocks)

    def _keeps_blocks(self, file: OpenFile) -> bool:
        """Whether closing this file leaves st_blocks as it was."""
        if self._root_type in KEEPING_BLOCKS and file.inode.device == self._inodes.root.device:
            return True
        return fcntl.fcntl(file.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY

    def _check_blocks(self, inode: Inode, blocks: int) -> None:
        """Have the kernel ask again where they have changed since."""
        with suppress(OSError):  # forgotten, or replaced on the backing: then nothing is believed of it
            with self._inodes.borrow(inode.number) as descriptor:
                changed = os.fstat(descriptor).st_blocks != blocks
            if changed and inode.lookups:
                pyfuse3.invalidate_inode(inode.number, attr_only=True)

    def lseek(self, fh: int, off: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE; nothing else reads the descriptor's own position."""
        return os.lseek(self._files.get(fh).fd, off, whence)

    def fallocate(self, fh: int, mode: int, off: int, length: int, ctx: Context) -> None:
        """fallocate(2) with every mode the backing takes."""
        file = self._files.get(fh)
        with asked_again_if_failed(file.inode.number):
            self._credentials.spend(ctx, lambda: kernel.fallocate(file.fd, mode, off, length))

    def ioctl(self, fd: int, cmd: int, data: bytes, out_size: int, ctx: Context) -> bytes:
        """The ioctls of inode flags; ENOTTY to all others.

        Flags are set as the caller, who is then checked by the backing as if it had asked itself.
        """
        if cmd in READ_IOCTLS:
            return kernel.ioctl(fd, cmd, bytes(out_size))
        if cmd in WRITE_IOCTLS:
            self._credentials.act(ctx, lambda: kernel.ioctl(fd, cmd, data))
            return b""
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    def spend(self, ctx: Context, write: Callable[[], int]) -> int:
        """Write with the room that the program may have."""
        return self._credentials.spend(ctx, write)

    def privileged_write(self, fh: int, ctx: Context) -> None:
        """A program without CAP_FSETID is about to write into a file with setuid or setgid bits."""
        drop_suidgid(self._files.get(fh).fd, ctx)

    def descriptor(self, fh: int) -> int:
        """The backing descriptor of a handle."""
        return self._files.get(fh).fd

    def _add(self, fd: int, flags: int, inode: Inode, ctx: Context) -> Opened:
        """A file's cached pages are dropped when it is opened again, unless they are asked to be kept: its
        reads would not be seen."""
        backing = self._told_to_kernel(inode, fd, ctx)
        native = NativeFile(
            fd,
            (inode.device, inode.ino),
            unseen=backing != 0,
            asks_writer=self._asks_writer(inode, fd),
            only_appends=flags & os.O_APPEND != 0 and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND != 0,
            opener=ctx.uid,
        )
        file = OpenFile(native, inode, ctx.pid)
        self._refusals.opened(file, flags & os.O_ACCMODE != os.O_RDONLY)
        self._files.add(file)
        noflush = self._how.noflush and inode.device == self._inodes.root.device
        # Who keeps pages and is read by the kernel itself gets EIO (fs/fuse/iomode.c, Linux 6.9 to 7.2).
        keep_cache = self._how.keep_cache and not backing and not watching.is_suspect(inode.number)
        return Opened(file.fh, keep_cache=keep_cache, noflush=noflush, backing=backing)

    def _told_to_kernel(self, inode: Inode, fd: int, ctx: Context) -> int:
        """The kernel writes with the ids of the thread that told it of the file (fb->cred in
        fs/fuse/passthrough.c, Linux 6.9 to 7.2), for all who have it open then: so with those of whoever
        opens it, or owns it where that is root."""
        if not self._passthrough.wanted:
            return 0
        with self._credentials.paying(ctx.uid or os.fstat(fd).st_uid):
            return self._passthrough.opened(inode, fd)

    def _asks_writer(self, inode: Inode, fd: int) -> bool:
        """Whether the backing may give room by the writer's user id; what is not known not to, may."""
        if self._credentials.uid != 0:
            return False
        if inode.device == self._inodes.root.device:
            return self._root_type not in SAME_FOR_ALL
        return kernel.filesystem_type(fd) not in SAME_FOR_ALL


def _is_changed_unseen(opened: Opened, flags: int) -> bool:
    """Whether the file may change without the mount's inode hearing of it.

    Of a file that the kernel writes by itself it maps the backing's pages (backing_file_mmap, Linux 6.9 to
    7.2): what is written to those, even after the file is closed, changes times and blocks. Writable pages
    take O_RDWR.
    """
    return opened.backing != 0 and flags & os.O_ACCMODE == os.O_RDWR
