"""Attributes of inodes: stat, chmod, chown, truncation, times, extended attributes, statfs.

Methods block, raise OSError, and may run in any thread. Extended attributes of the name space user.fusecopy
are the server's own (control.py) and never reach the backing.
"""

import errno
import fcntl
import os
import stat
from typing import Protocol

import pyfuse3

from fusecopy.filesystem import kernel
from fusecopy.filesystem.attributes import asked_again_if_failed
from fusecopy.filesystem.control import Control
from fusecopy.filesystem.credentials import CAP_FOWNER, Context, Credentials, standing
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.openfiles import OpenFiles
from fusecopy.filesystem.privileges import drop_suidgid, keeps_suidgid
from fusecopy.serving import Entry, SetattrFields

ACL_PREFIX = b"system.posix_acl_"
TRUSTED_PREFIX = b"trusted."
VFS_STATISTICS = (
    "f_bsize",
    "f_frsize",
    "f_blocks",
    "f_bfree",
    "f_bavail",
    "f_files",
    "f_ffree",
    "f_favail",
    "f_namemax",
)


class Change(Protocol):
    """New values of a SETATTR; only those named by its fields count."""

    st_mode: int
    st_uid: int
    st_gid: int
    st_size: int
    st_atime_ns: int
    st_mtime_ns: int


class Metadata:
    """Operations on attributes."""

    def __init__(
        self,
        inodes: InodeTable,
        files: OpenFiles,
        credentials: Credentials,
        control: Control,
    ) -> None:
        self._inodes = inodes
        self._files = files
        self._credentials = credentials
        self._control = control

    def getattr(self, number: int) -> Entry:
        """stat(2)."""
        with self._inodes.borrow(number) as descriptor:
            return Entry.of(descriptor, number)

    def setattr(
        self, number: int, change: Change, fields: SetattrFields, fh: int | None, ctx: Context
    ) -> Entry:
        """Change what `fields` names.

        The owner goes before the mode, because chown(2) drops setuid and setgid bits and the kernel sends
        the mode that shall remain. Truncation by handle serves a caller whose file was made read-only since.
        """
        with self._inodes.borrow(number) as descriptor, asked_again_if_failed(number):
            path = f"/proc/self/fd/{descriptor}"
            if fields.nothing:
                self._check_nothing(descriptor, number, ctx)
            if fields.drop_suidgid or (fields.nothing and not keeps_suidgid(ctx)):
                drop_suidgid(descriptor, ctx)
            if fields.update_uid or fields.update_gid:
                owner = change.st_uid if fields.update_uid else -1
                group = change.st_gid if fields.update_gid else -1
                # XFS lets who has CAP_FOWNER exceed the new owner's quota (xfs_setattr_nonsize).
                self._credentials.spend(ctx, lambda: os.chown(path, owner, group), without=CAP_FOWNER)
            if fields.update_mode:
                os.chmod(path, change.st_mode & 0o7777)
            if fields.update_size:
                file = path if fh is None else self._files.get(fh).fd
                self._credentials.spend(ctx, lambda: os.truncate(file, change.st_size))
            if fields.update_atime or fields.update_mtime:
                kernel.set_times(path, *_times(change, fields))
            return Entry.of(descriptor, number)

    def _check_nothing(self, descriptor: int, number: int, ctx: Context) -> None:
        """A change of nothing comes before a copy or an allocation, of a file that the caller has open for
        writing; and from chown(2) without owner and group, where the kernel does not check whose file it is.

        Raises:
            PermissionError: it would take bits from somebody else's file.
        """
        st = os.fstat(descriptor)
        if not st.st_mode & (stat.S_ISUID | stat.S_ISGID) or ctx.uid in (0, st.st_uid):
            return
        opened = [file for file in self._files.all() if file.inode.number == number]
        theirs = [file.fd for file in opened if file.native.uid == ctx.uid]
        if any(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY for fd in theirs):
            return
        _, capabilities = standing(ctx.pid)
        if not capabilities & CAP_FOWNER:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def born(self, number: int) -> int | None:
        """When the file was created, in nanoseconds since 1970; None where the backing does not know."""
        with self._inodes.borrow(number) as descriptor:
            return kernel.birth_time(descriptor)

    def statfs(self, number: int) -> pyfuse3.StatvfsData:
        """statvfs(3) of the filesystem that an inode is of: there may be others below the backing."""
        result = pyfuse3.StatvfsData()
        with self._inodes.borrow(number) as descriptor:
            statistics = os.fstatvfs(descriptor)
        for name in VFS_STATISTICS:
            setattr(result, name, getattr(statistics, name))
        return result

    def getxattr(self, number: int, name: bytes) -> bytes:
        """Value of an extended attribute of the backing's file, or of the server's own."""
        with self._inodes.borrow(number) as descriptor:
            if self._control.owns(name):
                return self._control.get(self._inodes.get(number), descriptor, name)
            return os.getxattr(f"/proc/self/fd/{descriptor}", name)

    def setxattr(self, number: int, name: bytes, value: bytes, flags: int, ctx: Context) -> None:
        """Set an extended attribute.

        ACLs are set as the caller, so that the backing drops a setgid bit whose group the caller is not in
        (posix_acl_update_mode): FUSE has no way to ask for it before FUSE_SETXATTR_EXT.
        """
        if self._control.owns(name):
            self._control.set(self._inodes.get(number), name, value, ctx)
            return
        with self._inodes.borrow(number) as descriptor:
            carry_out = self._credentials.act if name.startswith(ACL_PREFIX) else self._credentials.spend
            carry_out(ctx, lambda: os.setxattr(f"/proc/self/fd/{descriptor}", name, value, flags))

    def listxattr(self, number: int, ctx: Context) -> list[bytes]:
        """Names of the backing's extended attributes; the server's own stay unlisted, so that cp -a does not
        copy them.

        Trusted ones are for root alone (xattr(7)), but a root server is shown them whoever asks it.
        """
        with self._inodes.borrow(number) as descriptor:
            names = [os.fsencode(name) for name in os.listxattr(f"/proc/self/fd/{descriptor}")]
        return [name for name in names if ctx.uid == 0 or not name.startswith(TRUSTED_PREFIX)]

    def removexattr(self, number: int, name: bytes) -> None:
        """Remove an extended attribute."""
        if self._control.owns(name):
            self._control.remove(name)
        with self._inodes.borrow(number) as descriptor:
            os.removexattr(f"/proc/self/fd/{descriptor}", name)


def _times(change: Change, fields: SetattrFields) -> tuple[kernel.Time, kernel.Time]:
    """The present stays the present, so that whoever may write the file may set it (utimensat(2))."""
    atime: kernel.Time = change.st_atime_ns if fields.update_atime else None
    mtime: kernel.Time = change.st_mtime_ns if fields.update_mtime else None
    return kernel.NOW if fields.atime_now else atime, kernel.NOW if fields.mtime_now else mtime
