"""The mounted file system as fusecopy.serving calls it: each operation one line over its logic."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyfuse3

from fusecopy import ioctls, serving
from fusecopy.filesystem.accounts import Accounts
from fusecopy.filesystem.cloned import CloneReports
from fusecopy.filesystem.clones import Clones
from fusecopy.filesystem.copies import Copies
from fusecopy.filesystem.directories import Directories
from fusecopy.filesystem.files import Files
from fusecopy.filesystem.metadata import Metadata
from fusecopy.filesystem.names import Names
from fusecopy.filesystem.trees import Trees
from fusecopy.native import callers
from fusecopy.serving import (
    CopyContext,
    Entry,
    IoctlContext,
    Listing,
    Opened,
    RequestContext,
    Series,
    SetattrFields,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Filesystem:
    """The logic behind the operations."""

    names: Names
    metadata: Metadata
    files: Files
    directories: Directories
    copies: Copies
    cloned: CloneReports
    clones: Clones
    trees: Trees
    accounts: Accounts


class Operations(serving.Operations):
    """The operations over a Filesystem."""

    def __init__(self, fs: Filesystem, negative_timeout: float) -> None:
        self._fs = fs
        self.negative_timeout = negative_timeout

    def ended(self) -> None:
        self._fs.copies.stop()
        self._fs.trees.stop()

    # ---- names ---------------------------------------------------------------------------------------

    def lookup(self, parent: int, name: bytes) -> Entry:
        return self._fs.names.lookup(parent, name)

    def forget(self, lookups: Sequence[tuple[int, int]]) -> None:
        self._fs.names.forget(lookups)

    def run_out(self) -> None:
        serving.barrier()  # files are closed after the answer to their release
        callers.forget()
        self._fs.names.run_out()

    def mknod(self, parent: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> Entry:
        return self._fs.names.mknod(parent, name, mode, rdev, ctx)

    def mkdir(self, parent: int, name: bytes, mode: int, ctx: RequestContext) -> Entry:
        return self._fs.names.mkdir(parent, name, mode, ctx)

    def symlink(self, parent: int, name: bytes, target: bytes, ctx: RequestContext) -> Entry:
        return self._fs.names.symlink(parent, name, target, ctx)

    def link(self, inode: int, parent: int, name: bytes, ctx: RequestContext) -> Entry:
        return self._fs.names.link(inode, parent, name, ctx)

    def unlink(self, parent: int, name: bytes) -> None:
        self._fs.names.unlink(parent, name)

    def rmdir(self, parent: int, name: bytes) -> None:
        self._fs.names.rmdir(parent, name)

    def rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int, ctx: RequestContext
    ) -> None:
        self._fs.names.rename(parent, name, new_parent, new_name, flags, ctx)

    def readlink(self, inode: int) -> bytes:
        return self._fs.names.readlink(inode)

    # ---- attributes ----------------------------------------------------------------------------------

    def getattr(self, inode: int) -> Entry:
        return self._fs.metadata.getattr(inode)

    def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
        ctx: RequestContext,
    ) -> Entry:
        return self._fs.metadata.setattr(inode, attr, fields, fh, ctx)

    def born(self, inode: int) -> int | None:
        return self._fs.metadata.born(inode)

    def statfs(self, inode: int) -> pyfuse3.StatvfsData:
        return self._fs.metadata.statfs(inode)

    def getxattr(self, inode: int, name: bytes) -> bytes:
        return self._fs.metadata.getxattr(inode, name)

    def setxattr(self, inode: int, name: bytes, value: bytes, flags: int, ctx: RequestContext) -> None:
        self._fs.metadata.setxattr(inode, name, value, flags, ctx)

    def listxattr(self, inode: int, ctx: RequestContext) -> Sequence[bytes]:
        return self._fs.metadata.listxattr(inode, ctx)

    def removexattr(self, inode: int, name: bytes) -> None:
        self._fs.metadata.removexattr(inode, name)

    # ---- files ---------------------------------------------------------------------------------------

    def open(self, inode: int, flags: int, ctx: RequestContext) -> Opened:
        return self._fs.files.open(inode, flags, ctx)

    def create(
        self, parent: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[Opened, Entry]:
        return self._fs.files.create(parent, name, mode, flags, ctx)

    def tmpfile(self, parent: int, mode: int, flags: int, ctx: RequestContext) -> tuple[Opened, Entry]:
        return self._fs.files.create_unnamed(parent, mode, flags, ctx)

    def flush(self, fh: int) -> None:
        self._fs.files.flush(fh)

    def release(self, fh: int) -> None:
        self._fs.files.release(fh)

    def crowded(self, fh: int) -> None:
        self._fs.accounts.crowded(fh)

    def fsync(self, fh: int, datasync: bool) -> None:
        self._fs.files.fsync(fh, datasync)

    def lseek(self, inode: int, fh: int, off: int, whence: int) -> int:
        return self._fs.files.lseek(fh, off, whence)

    def fallocate(self, inode: int, fh: int, mode: int, off: int, length: int, ctx: RequestContext) -> None:
        self._fs.files.fallocate(fh, mode, off, length, ctx)

    def ioctl(
        self, inode: int, fh: int, cmd: int, data: bytes, out_size: int, is_dir: bool, ctx: IoctlContext
    ) -> bytes:
        handles = self._fs.directories if is_dir else self._fs.files
        fd = handles.descriptor(fh)
        if cmd == ioctls.FIEMAP:
            return self._fs.clones.fiemap(fd, data)
        if cmd == ioctls.OFFER and not is_dir:
            return self._fs.clones.offer(fh, data, ctx)
        if cmd == ioctls.CLONE and not is_dir:
            return self._fs.clones.clone(fh, data, ctx)
        if cmd == ioctls.SOURCE:
            return self._fs.trees.offer(fh, is_dir, ctx)
        if cmd == ioctls.TREE and not is_dir:
            return self._fs.trees.clone(fh, data, ctx)
        if cmd == ioctls.PROGRESS:
            return self._fs.trees.progress(data)
        return self._fs.files.ioctl(fd, cmd, data, out_size, ctx)

    def spend(self, ctx: RequestContext, write: Callable[[], int]) -> int:
        return self._fs.files.spend(ctx, write)

    def privileged_write(self, fh: int, ctx: RequestContext) -> None:
        try:
            self._fs.files.privileged_write(fh, ctx)
        except Exception:
            log.exception("unexpected error while dropping setuid bits")

    def look(self, fh: int, pid: int, uid: int, writes: bool) -> None:
        try:
            self._fs.accounts.look(fh, pid, uid, writes)
        except Exception:
            log.exception("unexpected error while looking up who reads or writes")

    def copy_file_range(
        self,
        inode_in: int,
        fh_in: int,
        off_in: int,
        inode_out: int,
        fh_out: int,
        off_out: int,
        length: int,
        flags: int,
        ctx: CopyContext,
    ) -> int:
        return self._fs.copies.copy_file_range(fh_in, off_in, fh_out, off_out, length, ctx)

    def cloned(self, series: list[Series]) -> None:
        self._fs.cloned.report(series)

    # ---- directories ---------------------------------------------------------------------------------

    def opendir(self, inode: int) -> Opened:
        return self._fs.directories.opendir(inode)

    def readdir(self, fh: int, off: int, listing: Listing) -> None:
        self._fs.directories.readdir(fh, off, listing)

    def releasedir(self, fh: int) -> None:
        self._fs.directories.releasedir(fh)

    def fsyncdir(self, fh: int, datasync: bool) -> None:
        self._fs.directories.fsyncdir(fh, datasync)
