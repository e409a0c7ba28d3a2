"""The operations as pyfuse3 wants them: each a line over the plain method, which runs in a worker thread."""

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

import pyfuse3
import trio

from fusecopy.serving.failures import errno_of
from fusecopy.serving.operations import Operations

P = ParamSpec("P")
R = TypeVar("R")

THREADS = 40
"""Requests that may wait for a disk at the same time; copies and data have threads of their own."""


class Shell(pyfuse3.Operations):
    """What pyfuse3's loop calls for the requests that reach it."""

    supports_dot_lookup = False
    enable_acl = True

    def __init__(self, plain: Operations) -> None:
        super().__init__()
        self._plain = plain
        self._threads = trio.CapacityLimiter(THREADS)

    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        try:
            return (await self._run(self._plain.lookup, parent_inode, name)).for_pyfuse3()
        except pyfuse3.FUSEError as error:
            if error.errno != errno.ENOENT or not self._plain.negative_timeout:
                raise
        absent = pyfuse3.EntryAttributes()
        absent.st_ino, absent.entry_timeout = 0, self._plain.negative_timeout
        return absent

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        with suppress(pyfuse3.FUSEError):  # nobody waits for an answer
            await self._run(self._plain.forget, inode_list)

    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        return (await self._run(self._plain.mknod, parent_inode, name, mode, rdev, ctx)).for_pyfuse3()

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return (await self._run(self._plain.mkdir, parent_inode, name, mode, ctx)).for_pyfuse3()

    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        return (await self._run(self._plain.symlink, parent_inode, name, target, ctx)).for_pyfuse3()

    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: Any
    ) -> pyfuse3.EntryAttributes:
        return (await self._run(self._plain.link, inode, new_parent_inode, new_name, ctx)).for_pyfuse3()

    async def unlink(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        await self._run(self._plain.unlink, parent_inode, name)

    async def rmdir(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        await self._run(self._plain.rmdir, parent_inode, name)

    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: Any,
    ) -> None:
        names = (parent_inode_old, name_old, parent_inode_new, name_new)
        await self._run(self._plain.rename, *names, flags, ctx)

    async def readlink(self, inode: int, ctx: Any) -> bytes:
        return await self._run(self._plain.readlink, inode)

    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        return (await self._run(self._plain.getattr, inode)).for_pyfuse3()

    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        return await self._run(self._plain.statfs)

    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        return await self._run(self._plain.getxattr, inode, name)

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: Any) -> None:
        await self._run(self._plain.setxattr, inode, name, value, ctx)

    async def listxattr(self, inode: int, ctx: Any) -> Sequence[bytes]:
        return await self._run(self._plain.listxattr, inode, ctx)

    async def removexattr(self, inode: int, name: bytes, ctx: Any) -> None:
        await self._run(self._plain.removexattr, inode, name)

    async def flush(self, fh: int) -> None:
        await self._run(self._plain.flush, fh)

    async def release(self, fh: int) -> None:
        await self._run(self._plain.release, fh)

    async def fsync(self, fh: int, datasync: bool) -> None:
        await self._run(self._plain.fsync, fh, datasync)

    async def opendir(self, inode: int, ctx: Any) -> int:
        return (await self._run(self._plain.opendir, inode)).fh

    async def releasedir(self, fh: int) -> None:
        await self._run(self._plain.releasedir, fh)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._run(self._plain.fsyncdir, fh, datasync)

    async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await trio.to_thread.run_sync(
            lambda: _answer(function, *args, **kwargs), limiter=self._threads
        )


def _answer(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """pyfuse3 ends its loop, and with it the mount, on any exception but its own."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        raise pyfuse3.FUSEError(errno_of(error, function)) from None
