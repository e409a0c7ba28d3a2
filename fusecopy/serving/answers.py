"""Answers requests by the plain operations: a method for each row of the table (native/operations.c), which
takes its arguments from the request as it came, and replies once, or raises; then `answer` replies.
"""

import errno
import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pyfuse3

from fusecopy.native._native import ffi, lib
from fusecopy.native.listings import Listing
from fusecopy.serving.failures import errno_of
from fusecopy.serving.operations import (
    Answer,
    AnsweringContext,
    CopyContext,
    IoctlContext,
    Operations,
    RequestContext,
    SetattrFields,
)

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyRequest, FuseLseekOut, FuseStatfsOut

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000

ONCE = {"forget", "batch_forget", "release", "releasedir", "copy_file_range", "ioctl"}
"""Tasks that may have changed something when they find no descriptor; all others have not, or do it again."""

Task = Callable[["FusecopyRequest"], None]
"""Replies to a request, or raises."""


def answer(request: "FusecopyRequest", task: Task, run_out: Callable[[], None] | None) -> None:
    """Run a task; whatever it raises becomes that caller's errno and never ends the mount. Where descriptors
    have run out `run_out` gives some back, and all but ONCE are tried once more."""
    try:
        task(request)
    except Exception as error:
        if run_out and _is_out_of_descriptors(error):
            run_out()
            if task.__name__ not in ONCE:
                answer(request, task, None)
                return
        lib.fusecopy_reply_error(request, errno_of(error, f"Operations.{task.__name__}"))


def _is_out_of_descriptors(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


class Answers:
    """The tasks over the operations of one file system; they may wait."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def tasks(self) -> dict[int, Task]:
        """What serves each opcode that may be left to Python."""
        rows = {opcode: lib.fusecopy_operation(opcode) for opcode in range(lib.FUSECOPY_OPCODES)}
        return {
            opcode: getattr(self, ffi.string(row.python).decode())
            for opcode, row in rows.items()
            if row and row.python
        }

    # ---- names ---------------------------------------------------------------------------------------

    def lookup(self, request: "FusecopyRequest") -> None:
        try:
            entry = self._operations.lookup(_number(request), _name(request))
        except FileNotFoundError:
            lib.fusecopy_reply_absent(request)
        else:
            lib.fusecopy_reply_entry(request, entry.native)

    def forget(self, request: "FusecopyRequest") -> None:
        self._forget([(_number(request), ffi.cast("struct fuse_forget_in *", request.arguments).nlookup)])

    def batch_forget(self, request: "FusecopyRequest") -> None:
        count = ffi.cast("struct fuse_batch_forget_in *", request.arguments).count
        forgotten = ffi.cast("struct fuse_forget_one *", request.payload)
        self._forget([(one.nodeid, one.nlookup) for one in ffi.unpack(forgotten, count)])

    def _forget(self, lookups: Sequence[tuple[int, int]]) -> None:
        """Nobody waits for an answer."""
        try:
            self._operations.forget(lookups)
        except Exception:
            log.exception("unexpected error in forget")

    def mknod(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_mknod_in *", request.arguments)
        context = RequestContext(request, args.umask)
        entry = self._operations.mknod(_number(request), _name(request), args.mode, args.rdev, context)
        lib.fusecopy_reply_entry(request, entry.native)

    def mkdir(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_mkdir_in *", request.arguments)
        context = RequestContext(request, args.umask)
        entry = self._operations.mkdir(_number(request), _name(request), args.mode, context)
        lib.fusecopy_reply_entry(request, entry.native)

    def symlink(self, request: "FusecopyRequest") -> None:
        name, target = _two_names(request)
        entry = self._operations.symlink(_number(request), name, target, RequestContext(request))
        lib.fusecopy_reply_entry(request, entry.native)

    def link(self, request: "FusecopyRequest") -> None:
        number = ffi.cast("struct fuse_link_in *", request.arguments).oldnodeid
        entry = self._operations.link(number, _number(request), _name(request), RequestContext(request))
        lib.fusecopy_reply_entry(request, entry.native)

    def unlink(self, request: "FusecopyRequest") -> None:
        self._operations.unlink(_number(request), _name(request))
        _done(request)

    def rmdir(self, request: "FusecopyRequest") -> None:
        self._operations.rmdir(_number(request), _name(request))
        _done(request)

    def rename(self, request: "FusecopyRequest") -> None:
        self._rename(request, ffi.cast("struct fuse_rename_in *", request.arguments).newdir, 0)

    def rename2(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_rename2_in *", request.arguments)
        self._rename(request, args.newdir, args.flags)

    def _rename(self, request: "FusecopyRequest", new_parent: int, flags: int) -> None:
        name, new_name = _two_names(request)
        context = RequestContext(request)
        self._operations.rename(_number(request), name, new_parent, new_name, flags, context)
        _done(request)

    def readlink(self, request: "FusecopyRequest") -> None:
        _data(request, self._operations.readlink(_number(request)))

    # ---- attributes ----------------------------------------------------------------------------------

    def getattr(self, request: "FusecopyRequest") -> None:
        lib.fusecopy_reply_attr(request, self._operations.getattr(_number(request)).native)

    def statx(self, request: "FusecopyRequest") -> None:
        number = _number(request)
        born = self._operations.born(number)
        time = ffi.NULL if born is None else ffi.new("struct timespec *", divmod(born, NS_PER_S))
        lib.fusecopy_reply_statx(request, self._operations.getattr(number).native, time)

    def setattr(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_setattr_in *", request.arguments)
        attr = pyfuse3.EntryAttributes()
        attr.st_mode, attr.st_uid, attr.st_gid, attr.st_size = args.mode, args.uid, args.gid, args.size
        attr.st_atime_ns = _signed(args.atime) * NS_PER_S + args.atimensec
        attr.st_mtime_ns = _signed(args.mtime) * NS_PER_S + args.mtimensec
        fh = args.fh if args.valid & lib.FATTR_FH else None
        fields = _fields(args.valid)
        entry = self._operations.setattr(_number(request), attr, fields, fh, RequestContext(request))
        lib.fusecopy_reply_attr(request, entry.native)

    def statfs(self, request: "FusecopyRequest") -> None:
        statistics = self._operations.statfs(_number(request))
        out = ffi.new("struct fuse_statfs_out *")
        for name in ("blocks", "bfree", "bavail", "files", "ffree", "bsize", "frsize"):
            setattr(out.st, name, getattr(statistics, f"f_{name}"))
        out.st.namelen = statistics.f_namemax
        _struct(request, out)

    def getxattr(self, request: "FusecopyRequest") -> None:
        value = self._operations.getxattr(_number(request), _name(request))
        _sized(request, value, ffi.cast("struct fuse_getxattr_in *", request.arguments).size)

    def setxattr(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_setxattr_in *", request.arguments)
        name = _name(request)
        value = bytes(ffi.buffer(request.payload + len(name) + 1, args.size))
        self._operations.setxattr(_number(request), name, value, args.flags, RequestContext(request))
        _done(request)

    def listxattr(self, request: "FusecopyRequest") -> None:
        names = self._operations.listxattr(_number(request), RequestContext(request))
        _sized(
            request,
            b"".join(name + b"\0" for name in names),
            ffi.cast("struct fuse_getxattr_in *", request.arguments).size,
        )

    def removexattr(self, request: "FusecopyRequest") -> None:
        self._operations.removexattr(_number(request), _name(request))
        _done(request)

    # ---- files ---------------------------------------------------------------------------------------

    def open(self, request: "FusecopyRequest") -> None:
        flags = ffi.cast("struct fuse_open_in *", request.arguments).flags
        opened = self._operations.open(_number(request), flags, RequestContext(request))
        lib.fusecopy_reply_open(request, opened.native())

    def create(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_create_in *", request.arguments)
        context = RequestContext(request, args.umask)
        parent, name = _number(request), _name(request)
        opened, entry = self._operations.create(parent, name, args.mode, args.flags, context)
        lib.fusecopy_reply_create(request, entry.native, opened.native())

    def tmpfile(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_create_in *", request.arguments)
        context = RequestContext(request, args.umask)
        opened, entry = self._operations.tmpfile(_number(request), args.mode, args.flags, context)
        lib.fusecopy_reply_create(request, entry.native, opened.native())

    def read(self, request: "FusecopyRequest") -> None:
        """What it takes Python for; the bytes are the native lane's."""
        if lib.fusecopy_look_is_due(request):
            fh = ffi.cast("struct fuse_read_in *", request.arguments).fh
            self._operations.look(fh, lib.fusecopy_client(request), request.header.uid, writes=False)
        lib.fusecopy_carry_read(request)

    def write(self, request: "FusecopyRequest") -> None:
        """The same."""
        fh = ffi.cast("struct fuse_write_in *", request.arguments).fh
        if lib.fusecopy_look_is_due(request):
            self._operations.look(fh, lib.fusecopy_client(request), request.header.uid, writes=True)
        try:
            written = self._write(request, fh)
        except OSError as error:
            written = -(error.errno or errno.EIO)
        lib.fusecopy_count_moved(request, written)
        lib.fusecopy_reply_size(request, _checked(written))

    def _write(self, request: "FusecopyRequest", fh: int) -> int:
        """With the caller's id the write itself takes away bits that may stay (setgid, for the group; all
        of them for CAP_FSETID), so these are seen to first."""
        if lib.fusecopy_has_bits_to_lose(request):
            if (
                ffi.cast("struct fuse_write_in *", request.arguments).write_flags
                & lib.FUSE_WRITE_KILL_SUIDGID
            ):
                self._operations.privileged_write(fh, RequestContext(request))
            return self._spend(request)
        written: int = lib.fusecopy_write_for_caller(request)
        if written in (-errno.ENOSPC, -errno.EDQUOT):
            return self._spend(request)
        return written

    def _spend(self, request: "FusecopyRequest") -> int:
        """Write with the room that the program may have."""
        context = RequestContext(request)
        context.uid = lib.fusecopy_writer(request)
        return self._operations.spend(context, lambda: _checked(lib.fusecopy_write(request)))

    def flush(self, request: "FusecopyRequest") -> None:
        self._operations.flush(ffi.cast("struct fuse_flush_in *", request.arguments).fh)
        _done(request)

    def fsync(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_fsync_in *", request.arguments)
        self._operations.fsync(args.fh, bool(args.fsync_flags & lib.FUSE_FSYNC_FDATASYNC))
        _done(request)

    def release(self, request: "FusecopyRequest") -> None:
        self._operations.release(ffi.cast("struct fuse_release_in *", request.arguments).fh)
        _done(request)

    def lseek(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_lseek_in *", request.arguments)
        offset = self._operations.lseek(_number(request), args.fh, _signed(args.offset), args.whence)
        _struct(request, ffi.new("struct fuse_lseek_out *", {"offset": offset}))

    def fallocate(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_fallocate_in *", request.arguments)
        range_ = _signed(args.offset), _signed(args.length)
        context = RequestContext(request)
        self._operations.fallocate(_number(request), args.fh, args.mode, *range_, context)
        _done(request)

    def copy_file_range(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_copy_file_range_in *", request.arguments)
        ctx = CopyContext(request, lib.fusecopy_reply_copy)
        _answered(
            ctx,
            lambda: self._operations.copy_file_range(
                _number(request),
                args.fh_in,
                _signed(args.off_in),
                args.nodeid_out,
                args.fh_out,
                _signed(args.off_out),
                lib.fusecopy_copy_length(request),
                args.flags,
                ctx,
            ),
        )

    def ioctl(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_ioctl_in *", request.arguments)
        data = bytes(ffi.buffer(request.payload, args.in_size)) if args.in_size else b""
        is_dir = bool(args.flags & lib.FUSE_IOCTL_DIR)
        ctx = IoctlContext(request, _reply_ioctl)
        _answered(
            ctx,
            lambda: self._operations.ioctl(
                _number(request), args.fh, args.cmd, data, args.out_size, is_dir, ctx
            ),
        )

    # ---- directories ---------------------------------------------------------------------------------

    def opendir(self, request: "FusecopyRequest") -> None:
        lib.fusecopy_reply_open(request, self._operations.opendir(_number(request)).native())

    def readdir(self, request: "FusecopyRequest") -> None:
        self._list(request, plus=False)

    def readdirplus(self, request: "FusecopyRequest") -> None:
        self._list(request, plus=True)

    def _list(self, request: "FusecopyRequest", plus: bool) -> None:
        args = ffi.cast("struct fuse_read_in *", request.arguments)
        listing = Listing(args.size, plus)
        self._operations.readdir(args.fh, _signed(args.offset), listing)
        listing.reply(request)

    def fsyncdir(self, request: "FusecopyRequest") -> None:
        args = ffi.cast("struct fuse_fsync_in *", request.arguments)
        self._operations.fsyncdir(args.fh, bool(args.fsync_flags & lib.FUSE_FSYNC_FDATASYNC))
        _done(request)

    def releasedir(self, request: "FusecopyRequest") -> None:
        self._operations.releasedir(ffi.cast("struct fuse_release_in *", request.arguments).fh)
        _done(request)


# ---- what a request holds ----------------------------------------------------------------------------


def _number(request: "FusecopyRequest") -> int:
    """The inode that it is about, or the directory."""
    return int(request.header.nodeid)


def _name(request: "FusecopyRequest") -> bytes:
    return bytes(ffi.string(request.payload))


def _two_names(request: "FusecopyRequest") -> tuple[bytes, bytes]:
    first = _name(request)
    return first, bytes(ffi.string(request.payload + len(first) + 1))


def _signed(number: int) -> int:
    """A number of 64 bits that the protocol has without its sign."""
    return number - (1 << 64) if number >> 63 else number


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _fields(valid: int) -> SetattrFields:
    atime_now = bool(valid & lib.FATTR_ATIME_NOW)
    mtime_now = bool(valid & lib.FATTR_MTIME_NOW)
    return SetattrFields(
        update_atime=atime_now or bool(valid & lib.FATTR_ATIME),
        update_mtime=mtime_now or bool(valid & lib.FATTR_MTIME),
        update_ctime=bool(valid & lib.FATTR_CTIME),
        update_mode=bool(valid & lib.FATTR_MODE),
        update_uid=bool(valid & lib.FATTR_UID),
        update_gid=bool(valid & lib.FATTR_GID),
        update_size=bool(valid & lib.FATTR_SIZE),
        atime_now=atime_now,
        mtime_now=mtime_now,
        drop_suidgid=bool(valid & lib.FATTR_KILL_SUIDGID),
    )


# ---- replies -----------------------------------------------------------------------------------------


def _done(request: "FusecopyRequest") -> None:
    lib.fusecopy_reply_error(request, 0)


def _data(request: "FusecopyRequest", data: bytes) -> None:
    lib.fusecopy_reply_data(request, ffi.from_buffer(data), len(data))


def _struct(request: "FusecopyRequest", out: "FuseLseekOut | FuseStatfsOut") -> None:
    lib.fusecopy_reply_data(request, out, ffi.sizeof(out[0]))


def _sized(request: "FusecopyRequest", value: bytes, size: int) -> None:
    """A value for a buffer of `size` bytes; with 0 the caller asks how large it is (getxattr(2))."""
    if size == 0:
        lib.fusecopy_reply_size(request, len(value))
    elif len(value) > size:
        raise OSError(errno.ERANGE, "the value is larger than the caller's buffer")
    else:
        _data(request, value)


def _reply_ioctl(request: "FusecopyRequest", out: bytes) -> None:
    lib.fusecopy_reply_ioctl(request, ffi.from_buffer(out), len(out))


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
