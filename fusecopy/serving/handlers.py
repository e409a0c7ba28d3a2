"""What the native layer calls: each handler has its request answered by the plain operation.

On a thread of the request loop it is answered there and then, on pyfuse3's loop in a worker thread, as trio's
thread must not wait; either way each request gets exactly one answer.
"""

import logging
import struct
from typing import Any, Protocol

import pyfuse3

from fusecopy.native._native import ffi, lib
from fusecopy.serving.answers import Answers, Task
from fusecopy.serving.operations import Operations, RequestContext, SetattrFields

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000

FORGET = struct.Struct("=QQ")
"""struct fuse_forget_data: number, and how many look-ups."""


class Dispatcher(Protocol):
    """Who runs tasks: the running session."""

    operations: Operations
    answers: Answers

    def take(self, request: "ffi.CData", task: Task, *args: Any) -> None:
        """Run `task(request, *args)` where it may wait."""

    def crowded(self) -> bool:
        """There is no spare thread left; whether one was started."""


_session: Dispatcher


def dispatch_to(session: Dispatcher) -> None:
    """Handlers called from now on are for `session`."""
    global _session
    _session = session


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_crowded() -> bool:
    return _session.crowded()


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_look(fh: int, pid: int, writes: int) -> None:
    _session.operations.look(fh, pid, bool(writes))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_slow_read(request: "ffi.CData", fh: int, size: int, off: int) -> None:
    _session.take(request, _session.answers.slow_read, fh, size, off)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_slow_write(
    request: "ffi.CData",
    fh: int,
    data: "ffi.CData",
    size: int,
    off: int,
    before: int,
    append: int,
    writer: int,
) -> None:
    _session.take(request, _session.answers.slow_write, fh, data, size, off, before, append, writer)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_privileged_write(request: "ffi.CData", fh: int) -> None:
    _session.operations.privileged_write(fh, RequestContext(request))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_lookup(request: "ffi.CData", parent: int, name: "ffi.CData") -> None:
    _session.take(request, _session.answers.lookup, parent, ffi.string(name))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_forget(forgets: "ffi.CData", count: int) -> None:
    try:
        forgotten = ffi.buffer(forgets, count * FORGET.size)
        _session.operations.forget(list(FORGET.iter_unpack(forgotten)))
    except Exception:
        log.exception("unexpected error in forget")


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_getattr(request: "ffi.CData", inode: int) -> None:
    _session.take(request, _session.answers.getattr, inode)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_setattr(request: "ffi.CData", inode: int, change: "ffi.CData") -> None:
    attr = pyfuse3.EntryAttributes()
    attr.st_mode, attr.st_uid, attr.st_gid, attr.st_size = change.mode, change.uid, change.gid, change.size
    attr.st_atime_ns = change.atime_s * NS_PER_S + change.atime_ns
    attr.st_mtime_ns = change.mtime_s * NS_PER_S + change.mtime_ns
    fh = change.fh if change.has_fh else None
    _session.take(request, _session.answers.setattr, inode, attr, _fields(change), fh)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_readlink(request: "ffi.CData", inode: int) -> None:
    _session.take(request, _session.answers.readlink, inode)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_mknod(request: "ffi.CData", parent: int, name: "ffi.CData", mode: int, device: int) -> None:
    _session.take(
        request, _session.answers.created, _session.operations.mknod, parent, ffi.string(name), mode, device
    )


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_mkdir(request: "ffi.CData", parent: int, name: "ffi.CData", mode: int) -> None:
    _session.take(
        request, _session.answers.created, _session.operations.mkdir, parent, ffi.string(name), mode
    )


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_symlink(request: "ffi.CData", parent: int, name: "ffi.CData", target: "ffi.CData") -> None:
    words = ffi.string(name), ffi.string(target)
    _session.take(request, _session.answers.created, _session.operations.symlink, parent, *words)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_link(request: "ffi.CData", inode: int, parent: int, name: "ffi.CData") -> None:
    _session.take(
        request, _session.answers.created, _session.operations.link, inode, parent, ffi.string(name)
    )


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_unlink(request: "ffi.CData", parent: int, name: "ffi.CData") -> None:
    _session.take(request, _session.answers.done, _session.operations.unlink, parent, ffi.string(name))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_rmdir(request: "ffi.CData", parent: int, name: "ffi.CData") -> None:
    _session.take(request, _session.answers.done, _session.operations.rmdir, parent, ffi.string(name))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_rename(
    request: "ffi.CData", parent: int, name: "ffi.CData", new_parent: int, new_name: "ffi.CData", flags: int
) -> None:
    args = (parent, ffi.string(name), new_parent, ffi.string(new_name), flags)
    _session.take(request, _session.answers.done_for, _session.operations.rename, *args)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_open(request: "ffi.CData", inode: int, flags: int) -> None:
    _session.take(request, _session.answers.open, inode, flags)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_create(request: "ffi.CData", parent: int, name: "ffi.CData", mode: int, flags: int) -> None:
    _session.take(request, _session.answers.create, parent, ffi.string(name), mode, flags)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_flush(request: "ffi.CData", fh: int) -> None:
    _session.take(request, _session.answers.done, _session.operations.flush, fh)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_fsync(request: "ffi.CData", fh: int, datasync: int) -> None:
    _session.take(request, _session.answers.done, _session.operations.fsync, fh, bool(datasync))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_getxattr(request: "ffi.CData", inode: int, name: "ffi.CData", size: int) -> None:
    _session.take(request, _session.answers.getxattr, inode, ffi.string(name), size)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_opendir(request: "ffi.CData", inode: int) -> None:
    _session.take(request, _session.answers.opendir, inode)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_readdir(request: "ffi.CData", fh: int, size: int, off: int, plus: int) -> None:
    _session.take(request, _session.answers.readdir, fh, size, off, bool(plus))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_releasedir(request: "ffi.CData", fh: int) -> None:
    _session.take(request, _session.answers.done, _session.operations.releasedir, fh)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_copy_file_range(request: "ffi.CData", c: "ffi.CData") -> None:
    copy = (c.inode_in, c.fh_in, c.off_in, c.inode_out, c.fh_out, c.off_out, c.length, c.flags)
    _session.take(request, _session.answers.copy_file_range, copy)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_lseek(request: "ffi.CData", inode: int, fh: int, off: int, whence: int) -> None:
    _session.take(request, _session.answers.lseek, inode, fh, off, whence)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_fallocate(request: "ffi.CData", inode: int, fh: int, mode: int, off: int, length: int) -> None:
    args = (inode, fh, mode, off, length)
    _session.take(request, _session.answers.done_for, _session.operations.fallocate, *args)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_ioctl(
    request: "ffi.CData",
    inode: int,
    fh: int,
    cmd: int,
    flags: int,
    data: "ffi.CData",
    size: int,
    out_size: int,
) -> None:
    argument = bytes(ffi.buffer(data, size)) if size else b""
    _session.take(
        request, _session.answers.ioctl, inode, fh, cmd, argument, out_size, bool(flags & lib.FUSE_IOCTL_DIR)
    )


def _fields(change: "ffi.CData") -> SetattrFields:
    to_set: int = change.to_set
    atime_now = bool(to_set & lib.FUSE_SET_ATTR_ATIME_NOW)
    mtime_now = bool(to_set & lib.FUSE_SET_ATTR_MTIME_NOW)
    return SetattrFields(
        update_atime=atime_now or bool(to_set & lib.FUSE_SET_ATTR_ATIME),
        update_mtime=mtime_now or bool(to_set & lib.FUSE_SET_ATTR_MTIME),
        update_ctime=bool(to_set & lib.FUSE_SET_ATTR_CTIME),
        update_mode=bool(to_set & lib.FUSE_SET_ATTR_MODE),
        update_uid=bool(to_set & lib.FUSE_SET_ATTR_UID),
        update_gid=bool(to_set & lib.FUSE_SET_ATTR_GID),
        update_size=bool(to_set & lib.FUSE_SET_ATTR_SIZE),
        atime_now=atime_now,
        mtime_now=mtime_now,
        drop_suidgid=bool(change.drops_suidgid),
    )
