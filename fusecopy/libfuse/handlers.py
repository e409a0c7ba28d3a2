"""What the native layer calls: each handler has its request answered by the plain operation.

On a thread of the request loop it is answered there and then, on pyfuse3's loop in a worker thread, as trio's
thread must not wait; either way each request gets exactly one answer.
"""

import errno
import logging
from collections.abc import Callable
from typing import Any, Protocol

import pyfuse3

from fusecopy.libfuse._native import ffi, lib
from fusecopy.libfuse.entries import Entry
from fusecopy.libfuse.failures import errno_of
from fusecopy.libfuse.files import descriptor
from fusecopy.libfuse.operations import (
    Answer,
    AnsweringContext,
    CopyContext,
    IoctlContext,
    Operations,
    RequestContext,
    SetattrFields,
)

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000

Task = Callable[..., None]
"""Answers the request that is its first argument, or raises."""


class Dispatcher(Protocol):
    """Who runs tasks: the running session."""

    operations: Operations

    def take(self, request: "ffi.CData", task: Task, *args: Any) -> None:
        """Run `task(request, *args)` where it may wait."""

    def crowded(self) -> None:
        """There is no spare thread left."""


_session: Dispatcher


def dispatch_to(session: Dispatcher) -> None:
    """Handlers called from now on are for `session`."""
    global _session
    _session = session


def answer(request: "ffi.CData", task: Task, *args: Any) -> None:
    """Run a task that replies; whatever it raises becomes that caller's errno and never ends the mount."""
    try:
        task(request, *args)
    except Exception as error:
        operation = args[0] if args and callable(args[0]) else task
        lib.fuse_reply_err(request, errno_of(error, operation))


# ---- tasks -------------------------------------------------------------------------------------------


def _lookup(request: "ffi.CData", parent: int, name: bytes) -> None:
    try:
        entry = _session.operations.lookup(parent, name)
    except FileNotFoundError:
        if not _session.operations.negative_timeout:
            raise
        lib.fusecopy_reply_absent(request, _session.operations.negative_timeout)
    else:
        lib.fusecopy_reply_entry(request, entry.native)


def _getattr(request: "ffi.CData", inode: int) -> None:
    lib.fusecopy_reply_attr(request, _session.operations.getattr(inode).native)


def _setattr(
    request: "ffi.CData", inode: int, attr: pyfuse3.EntryAttributes, fields: SetattrFields, fh: int | None
) -> None:
    entry = _session.operations.setattr(inode, attr, fields, fh, RequestContext(request))
    lib.fusecopy_reply_attr(request, entry.native)


def _entry(request: "ffi.CData", operation: Callable[..., Entry], *args: Any) -> None:
    lib.fusecopy_reply_entry(request, operation(*args).native)


def _created(request: "ffi.CData", operation: Callable[..., Entry], *args: Any) -> None:
    lib.fusecopy_reply_entry(request, operation(*args, RequestContext(request)).native)


def _done(request: "ffi.CData", operation: Callable[..., None], *args: Any) -> None:
    operation(*args)
    lib.fuse_reply_err(request, 0)


def _readlink(request: "ffi.CData", inode: int) -> None:
    lib.fuse_reply_readlink(request, _session.operations.readlink(inode))


def _getxattr(request: "ffi.CData", inode: int, name: bytes, size: int) -> None:
    value = _session.operations.getxattr(inode, name)
    if size == 0:
        lib.fuse_reply_xattr(request, len(value))
    elif len(value) > size:
        raise OSError(errno.ERANGE, "the value is larger than the caller's buffer")
    else:
        lib.fuse_reply_buf(request, value, len(value))


def _open(request: "ffi.CData", inode: int, flags: int) -> None:
    opened = _session.operations.open(inode, flags, RequestContext(request))
    lib.fusecopy_reply_open(request, opened.native())


def _create(request: "ffi.CData", parent: int, name: bytes, mode: int, flags: int) -> None:
    opened, entry = _session.operations.create(parent, name, mode, flags, RequestContext(request))
    lib.fusecopy_reply_create(request, entry.native, opened.native())


def _opendir(request: "ffi.CData", inode: int) -> None:
    lib.fusecopy_reply_open(request, _session.operations.opendir(inode).native())


def _readdir(request: "ffi.CData", fh: int, size: int, off: int, plus: bool) -> None:
    reply = ffi.new("char[]", size)
    used = 0

    def emit(name: bytes, entry: Entry, after: int) -> bool:
        nonlocal used
        room = size - used
        taken: int = lib.fusecopy_add_entry(request, reply + used, room, name, entry.native, after, plus)
        if taken > room:
            return False
        used += taken
        return True

    _session.operations.readdir(fh, off, plus, emit)
    lib.fuse_reply_buf(request, reply, used)


def _copy_file_range(request: "ffi.CData", copy: "tuple[int, int, int, int, int, int, int, int]") -> None:
    ctx = CopyContext(request, lib.fusecopy_reply_copy)
    _answered(ctx, lambda: _session.operations.copy_file_range(*copy, ctx))


def _lseek(request: "ffi.CData", inode: int, fh: int, off: int, whence: int) -> None:
    lib.fuse_reply_lseek(request, _session.operations.lseek(inode, fh, off, whence))


def _ioctl(
    request: "ffi.CData", inode: int, fh: int, cmd: int, data: bytes, out_size: int, is_dir: bool
) -> None:
    ctx = IoctlContext(request, _reply_ioctl)
    _answered(ctx, lambda: _session.operations.ioctl(inode, fh, cmd, data, out_size, is_dir, ctx))


def _reply_ioctl(request: "ffi.CData", out: bytes) -> None:
    lib.fuse_reply_ioctl(request, 0, ffi.from_buffer(out), len(out))


def _answered(ctx: AnsweringContext[Answer], operation: Callable[[], Answer]) -> None:
    """Answer with what an operation returns, if it has not answered on its way."""
    try:
        answer = operation()
    except Exception:
        if not ctx.answered:
            raise
        log.exception("unexpected error after a request was answered")
    else:
        if not ctx.answered:
            ctx.answer(answer)


def _slow_read(request: "ffi.CData", fh: int, size: int, off: int) -> None:
    lib.fusecopy_finish_read(request, descriptor(fh), size, off)


def _slow_write(
    request: "ffi.CData", fh: int, data: "ffi.CData", size: int, off: int, before: int, append: int
) -> None:
    lib.fusecopy_finish_write(request, descriptor(fh), data, size, off, before, append)


# ---- handlers ----------------------------------------------------------------------------------------


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_crowded() -> None:
    _session.crowded()


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_look(fh: int, pid: int, writes: int) -> None:
    _session.operations.look(fh, pid, bool(writes))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_slow_read(request: "ffi.CData", fh: int, size: int, off: int) -> None:
    _session.take(request, _slow_read, fh, size, off)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_slow_write(
    request: "ffi.CData", fh: int, data: "ffi.CData", size: int, off: int, before: int, append: int
) -> None:
    _session.take(request, _slow_write, fh, data, size, off, before, append)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_privileged_write(request: "ffi.CData", fh: int) -> None:
    _session.operations.privileged_write(fh, RequestContext(request))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_lookup(request: "ffi.CData", parent: int, name: "ffi.CData") -> None:
    _session.take(request, _lookup, parent, ffi.string(name))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_forget(forgets: "ffi.CData", count: int) -> None:
    try:
        _session.operations.forget([(forgets[n].ino, forgets[n].nlookup) for n in range(count)])
    except Exception:
        log.exception("unexpected error in forget")


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_getattr(request: "ffi.CData", inode: int) -> None:
    _session.take(request, _getattr, inode)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_setattr(request: "ffi.CData", inode: int, change: "ffi.CData") -> None:
    attr = pyfuse3.EntryAttributes()
    attr.st_mode, attr.st_uid, attr.st_gid, attr.st_size = change.mode, change.uid, change.gid, change.size
    attr.st_atime_ns = change.atime_s * NS_PER_S + change.atime_ns
    attr.st_mtime_ns = change.mtime_s * NS_PER_S + change.mtime_ns
    fh = change.fh if change.has_fh else None
    _session.take(request, _setattr, inode, attr, _fields(change), fh)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_readlink(request: "ffi.CData", inode: int) -> None:
    _session.take(request, _readlink, inode)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_mknod(request: "ffi.CData", parent: int, name: "ffi.CData", mode: int, device: int) -> None:
    _session.take(request, _created, _session.operations.mknod, parent, ffi.string(name), mode, device)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_mkdir(request: "ffi.CData", parent: int, name: "ffi.CData", mode: int) -> None:
    _session.take(request, _created, _session.operations.mkdir, parent, ffi.string(name), mode)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_symlink(request: "ffi.CData", parent: int, name: "ffi.CData", target: "ffi.CData") -> None:
    words = ffi.string(name), ffi.string(target)
    _session.take(request, _created, _session.operations.symlink, parent, *words)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_link(request: "ffi.CData", inode: int, parent: int, name: "ffi.CData") -> None:
    _session.take(request, _entry, _session.operations.link, inode, parent, ffi.string(name))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_unlink(request: "ffi.CData", parent: int, name: "ffi.CData") -> None:
    _session.take(request, _done, _session.operations.unlink, parent, ffi.string(name))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_rmdir(request: "ffi.CData", parent: int, name: "ffi.CData") -> None:
    _session.take(request, _done, _session.operations.rmdir, parent, ffi.string(name))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_rename(
    request: "ffi.CData", parent: int, name: "ffi.CData", new_parent: int, new_name: "ffi.CData", flags: int
) -> None:
    args = (parent, ffi.string(name), new_parent, ffi.string(new_name), flags)
    _session.take(request, _done, _session.operations.rename, *args)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_open(request: "ffi.CData", inode: int, flags: int) -> None:
    _session.take(request, _open, inode, flags)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_create(request: "ffi.CData", parent: int, name: "ffi.CData", mode: int, flags: int) -> None:
    _session.take(request, _create, parent, ffi.string(name), mode, flags)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_flush(request: "ffi.CData", fh: int) -> None:
    _session.take(request, _done, _session.operations.flush, fh)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_release(request: "ffi.CData", fh: int) -> None:
    _session.take(request, _done, _session.operations.release, fh)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_fsync(request: "ffi.CData", fh: int, datasync: int) -> None:
    _session.take(request, _done, _session.operations.fsync, fh, bool(datasync))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_getxattr(request: "ffi.CData", inode: int, name: "ffi.CData", size: int) -> None:
    _session.take(request, _getxattr, inode, ffi.string(name), size)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_opendir(request: "ffi.CData", inode: int) -> None:
    _session.take(request, _opendir, inode)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_readdir(request: "ffi.CData", fh: int, size: int, off: int, plus: int) -> None:
    _session.take(request, _readdir, fh, size, off, bool(plus))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_releasedir(request: "ffi.CData", fh: int) -> None:
    _session.take(request, _done, _session.operations.releasedir, fh)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_copy_file_range(request: "ffi.CData", c: "ffi.CData") -> None:
    copy = (c.inode_in, c.fh_in, c.off_in, c.inode_out, c.fh_out, c.off_out, c.length, c.flags)
    _session.take(request, _copy_file_range, copy)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_lseek(request: "ffi.CData", inode: int, fh: int, off: int, whence: int) -> None:
    _session.take(request, _lseek, inode, fh, off, whence)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_fallocate(request: "ffi.CData", inode: int, fh: int, mode: int, off: int, length: int) -> None:
    _session.take(request, _done, _session.operations.fallocate, inode, fh, mode, off, length)


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
    _session.take(request, _ioctl, inode, fh, cmd, argument, out_size, bool(flags & lib.FUSE_IOCTL_DIR))


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
