"""The mounted file system as pyfuse3 and fusecopy.libfuse call it: each operation one line over its logic.

What may wait for a disk runs in a worker thread; what is answered from memory runs here. An OSError becomes
the caller's errno; anything unexpected becomes EIO for that one caller and a diagnostic, because pyfuse3 ends
its loop, and with it the mount, on any exception but its own.
"""

import errno
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio

from fusecopy import ioctls
from fusecopy.filesystem.accounts import Accounts
from fusecopy.filesystem.clones import Clones
from fusecopy.filesystem.copies import Copies
from fusecopy.filesystem.directories import Directories
from fusecopy.filesystem.files import Files
from fusecopy.filesystem.metadata import Metadata
from fusecopy.filesystem.names import Names
from fusecopy.filesystem.trees import Trees
from fusecopy.libfuse import Operations as LibfuseOperations
from fusecopy.libfuse import RequestContext

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

METADATA_THREADS = 24
FILE_THREADS = 16
COPY_THREADS = 16
"""Threads of each kind that may wait at once. Copies have their own, so that a hundred of them leave the
others to everybody else."""


@dataclass(frozen=True, slots=True)
class Filesystem:
    """The logic behind the operations."""

    names: Names
    metadata: Metadata
    files: Files
    directories: Directories
    copies: Copies
    clones: Clones
    trees: Trees
    accounts: Accounts


class Operations(LibfuseOperations):
    """The shell over a Filesystem."""

    supports_dot_lookup = False
    enable_acl = True

    def __init__(self, fs: Filesystem) -> None:
        super().__init__()
        self._fs = fs
        self._metadata_threads = trio.CapacityLimiter(METADATA_THREADS)
        self._file_threads = trio.CapacityLimiter(FILE_THREADS)
        self._copy_threads = trio.CapacityLimiter(COPY_THREADS)

    def ended(self) -> None:
        self._fs.copies.stop()
        self._fs.trees.stop()

    # ---- names ---------------------------------------------------------------------------------------

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        return await self._quick(self._fs.names.lookup, parent_inode, name)

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        try:
            for descriptor in self._fs.names.forget(list(inode_list)):
                await self._meta(os.close, descriptor)
        except Exception:
            log.exception("unexpected error in forget")

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        return await self._meta(self._fs.names.mknod, parent_inode, name, mode, rdev, ctx)

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return await self._meta(self._fs.names.mkdir, parent_inode, name, mode, ctx)

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        return await self._meta(self._fs.names.symlink, parent_inode, name, target, ctx)

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        return await self._meta(self._fs.names.link, inode, new_parent_inode, new_name)

    async def unlink(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        await self._meta(self._fs.names.unlink, parent_inode, name)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        await self._meta(self._fs.names.rmdir, parent_inode, name)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: Any,
    ) -> None:
        await self._meta(self._fs.names.rename, parent_inode_old, name_old, parent_inode_new, name_new, flags)

    async def readlink(self, inode: int, ctx: Any) -> bytes:
        return await self._meta(self._fs.names.readlink, inode)

    # ---- attributes ----------------------------------------------------------------------------------

    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return await self._quick(self._fs.metadata.getattr, inode)

    async def setattr(
        self, inode: int, attr: pyfuse3.EntryAttributes, fields: Any, fh: int | None, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        return await self._meta(self._fs.metadata.setattr, inode, attr, fields, fh)

    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        return await self._meta(self._fs.metadata.statfs)

    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        return await self._meta(self._fs.metadata.getxattr, inode, name)

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: Any) -> None:
        await self._meta(self._fs.metadata.setxattr, inode, name, value, ctx)

    async def listxattr(self, inode: int, ctx: Any) -> Sequence[bytes]:
        return await self._meta(self._fs.metadata.listxattr, inode, ctx)

    async def removexattr(self, inode: int, name: bytes, ctx: Any) -> None:
        await self._meta(self._fs.metadata.removexattr, inode, name)

    # ---- files ---------------------------------------------------------------------------------------

    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        return _info(await self._file(self._fs.files.open, inode, flags, ctx))

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: Any
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        fh, entry = await self._meta(self._fs.files.create, parent_inode, name, mode, flags, ctx)
        return _info(fh), entry

    async def flush(self, fh: int) -> None:
        if _answer(self._fs.files.wrote, fh):
            await self._file(self._fs.files.flush, fh)

    async def release(self, fh: int) -> None:
        await self._file(self._fs.files.release, fh)

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._file(self._fs.files.fsync, fh, datasync)

    async def lseek(self, inode: int, fh: int, off: int, whence: int, ctx: RequestContext) -> int:
        return await self._file(self._fs.files.lseek, fh, off, whence)

    async def fallocate(
        self, inode: int, fh: int, mode: int, off: int, length: int, ctx: RequestContext
    ) -> None:
        await self._file(self._fs.files.fallocate, fh, mode, off, length)

    async def ioctl(
        self, inode: int, fh: int, cmd: int, data: bytes, out_size: int, is_dir: bool, ctx: RequestContext
    ) -> bytes:
        handles = self._fs.directories if is_dir else self._fs.files
        fd = _answer(handles.descriptor, fh)
        if cmd == ioctls.FIEMAP:
            return await self._meta(self._fs.clones.fiemap, fd, data)
        if cmd == ioctls.OFFER and not is_dir:
            return _answer(self._fs.clones.offer, fh, data, ctx)
        if cmd == ioctls.CLONE and not is_dir:
            return await _in_thread(self._copy_threads, self._fs.clones.clone, fh, data, ctx)
        if cmd == ioctls.SOURCE:
            return _answer(self._fs.trees.offer, fh, is_dir, ctx)
        if cmd == ioctls.TREE and not is_dir:
            return await _in_thread(self._copy_threads, self._fs.trees.clone, fh, data, ctx)
        if cmd == ioctls.PROGRESS:
            return _answer(self._fs.trees.progress, data)
        return await self._meta(self._fs.files.ioctl, fd, cmd, data, out_size, ctx)

    def look(self, fh: int, pid: int, writes: bool) -> None:
        try:
            self._fs.accounts.look(fh, pid, writes)
        except Exception:
            log.exception("unexpected error while looking up who reads or writes")

    async def copy_file_range(
        self,
        inode_in: int,
        fh_in: int,
        off_in: int,
        inode_out: int,
        fh_out: int,
        off_out: int,
        length: int,
        flags: int,
        ctx: RequestContext,
    ) -> int:
        copy = self._fs.copies.copy_file_range
        return await _in_thread(self._copy_threads, copy, fh_in, off_in, fh_out, off_out, length, ctx)

    # ---- directories ---------------------------------------------------------------------------------

    async def opendir(self, inode: int, ctx: Any) -> int:
        return await self._meta(self._fs.directories.opendir, inode)

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        def emit(name: bytes, entry: pyfuse3.EntryAttributes, after: int) -> bool:
            return pyfuse3.readdir_reply(token, name, entry, after)

        await self._meta(self._fs.directories.readdir, fh, start_id, emit)

    async def releasedir(self, fh: int) -> None:
        await self._meta(self._fs.directories.releasedir, fh)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._file(self._fs.directories.fsyncdir, fh, datasync)

    # ---- where it runs -------------------------------------------------------------------------------

    async def _quick(self, function: Callable[..., R], *args: Any) -> R:
        """From memory, here; if that cannot be, in a thread."""
        try:
            return _answer(function, *args, wait=False)
        except pyfuse3.FUSEError as error:
            if error.errno != errno.EAGAIN:
                raise
        return await self._meta(function, *args)

    async def _meta(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await _in_thread(self._metadata_threads, function, *args, **kwargs)

    async def _file(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await _in_thread(self._file_threads, function, *args, **kwargs)


def _info(fh: int) -> pyfuse3.FileInfo:
    """A file's cached pages are dropped when it is opened again, in case the backing has changed."""
    return pyfuse3.FileInfo(fh=fh, keep_cache=False)


async def _in_thread(
    limiter: trio.CapacityLimiter, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R:
    return await trio.to_thread.run_sync(lambda: _answer(function, *args, **kwargs), limiter=limiter)


def _answer(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call the logic and turn its errors into pyfuse3's."""
    try:
        return function(*args, **kwargs)
    except OSError as error:
        raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
    except Exception:
        name = getattr(function, "__qualname__", function)
        log.exception("unexpected error in %s; its caller got EIO", name)
        raise pyfuse3.FUSEError(errno.EIO) from None
