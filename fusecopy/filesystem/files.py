"""Regular files that are open: open, flush, sync, allocate, seek, release, ioctl.

READ and WRITE are served by the native layer. Methods block, raise OSError, and may run in any thread.
"""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress

import pyfuse3

from fusecopy.filesystem import kernel
from fusecopy.filesystem._native import lib
from fusecopy.filesystem.accounts import Accounts
from fusecopy.filesystem.attributes import asked_again_if_failed
from fusecopy.filesystem.credentials import Context, Credentials
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.names import Names
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.passthrough import Passthrough
from fusecopy.filesystem.privileges import drop_suidgid
from fusecopy.native import files, opening
from fusecopy.native.entries import Entry, Opened
from fusecopy.native.inodes import Inode, expire
from fusecopy.native.opening import Opening

READ_IOCTLS = (lib.FS_IOC_GETFLAGS, lib.FS_IOC_FSGETXATTR)
WRITE_IOCTLS = (lib.FS_IOC_SETFLAGS, lib.FS_IOC_FSSETXATTR)
"""Inode flags and project ids, as lsattr and chattr use them."""

KEEPING_BLOCKS = (lib.BTRFS_SUPER_MAGIC, lib.EXT4_SUPER_MAGIC, lib.TMPFS_MAGIC)
"""Filesystems that take nothing back at a close, as XFS does what it allocated ahead (xfs_release)."""


CHANGING_BYTES = ~(lib.FALLOC_FL_KEEP_SIZE | lib.FALLOC_FL_UNSHARE_RANGE)
"""Modes of fallocate(2) that change what is read: all that punch, zero, collapse or insert."""


class Files:
    """Operations on open files."""

    def __init__(
        self,
        inodes: InodeTable,
        names: Names,
        open_files: OpenFiles,
        accounts: Accounts,
        credentials: Credentials,
        how: Opening,
        passthrough: Passthrough,
    ) -> None:
        self._inodes = inodes
        self._names = names
        self._files = open_files
        self._accounts = accounts
        self._credentials = credentials
        self._passthrough = passthrough
        with inodes.borrow(inodes.root.number) as root:
            self._root_type = kernel.filesystem_type(root)
            opening.begin(how, root, self._root_type)

    def open(self, number: int, flags: int, ctx: Context) -> Opened:
        """Open a file of the backing; for the flags left out see native/opening.h."""
        with self._inodes.opened(number) as inode:
            fd = opening.regular(inode.descriptor, flags)
        opened = self._add(fd, flags, inode, ctx)
        if _is_changed_unseen(opened, flags) and expire(number):
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
            expire(inode.number)
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
        with asked_again_if_failed(file.inode.number, pages=bool(mode & CHANGING_BYTES)):
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
        backing = 0
        try:
            backing = self._told_to_kernel(inode, fd, ctx)
            file = files.opened(fd, inode, flags, ctx.uid, ctx.pid)
        except BaseException:
            os.close(fd)
            raise
        file.unseen = backing != 0
        return Opened.of(file, backing)

    def _told_to_kernel(self, inode: Inode, fd: int, ctx: Context) -> int:
        """The kernel writes with the ids of the thread that told it of the file (fb->cred in
        fs/fuse/passthrough.c, Linux 6.9 to 7.2), for all who have it open then: so with those of whoever
        opens it, or owns it where that is root."""
        if not self._passthrough.wanted:
            return 0
        with self._credentials.paying(ctx.uid or os.fstat(fd).st_uid):
            return self._passthrough.opened(inode, fd)


def _is_changed_unseen(opened: Opened, flags: int) -> bool:
    """Whether the file may change without the mount's inode hearing of it.

    Of a file that the kernel writes by itself it maps the backing's pages (backing_file_mmap, Linux 6.9 to
    7.2): what is written to those, even after the file is closed, changes times and blocks. Writable pages
    take O_RDWR.
    """
    return opened.backing != 0 and flags & os.O_ACCMODE == os.O_RDWR
