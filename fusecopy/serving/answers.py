"""Answers requests by the plain operations: each method replies to its request, once, or raises, and then
`answer` replies.
"""

import errno
import logging
import os
from collections.abc import Callable
from typing import Any

import pyfuse3

from fusecopy.native._native import ffi, lib
from fusecopy.native.entries import Entry
from fusecopy.native.files import descriptor
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

log = logging.getLogger(__name__)

Task = Callable[..., None]
"""Replies to the request that is its first argument, or raises."""


def answer(request: "ffi.CData", task: Task, *args: Any) -> None:
    """Run a task; whatever it raises becomes that caller's errno and never ends the mount."""
    try:
        task(request, *args)
    except Exception as error:
        operation = args[0] if args and callable(args[0]) else task
        lib.fuse_reply_err(request, errno_of(error, operation))


class Answers:
    """The tasks over the operations of one file system; they may wait."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def lookup(self, request: "ffi.CData", parent: int, name: bytes) -> None:
        try:
            entry = self._operations.lookup(parent, name)
        except FileNotFoundError:
            lib.fusecopy_reply_absent(request, parent)
        else:
            lib.fusecopy_reply_entry(request, entry.native)

    def getattr(self, request: "ffi.CData", inode: int) -> None:
        lib.fusecopy_reply_attr(request, self._operations.getattr(inode).native)

    def setattr(
        self,
        request: "ffi.CData",
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: SetattrFields,
        fh: int | None,
    ) -> None:
        entry = self._operations.setattr(inode, attr, fields, fh, RequestContext(request))
        lib.fusecopy_reply_attr(request, entry.native)

    def created(self, request: "ffi.CData", operation: Callable[..., Entry], *args: Any) -> None:
        lib.fusecopy_reply_entry(request, operation(*args, RequestContext(request)).native)

    def done(self, request: "ffi.CData", operation: Callable[..., None], *args: Any) -> None:
        operation(*args)
        lib.fuse_reply_err(request, 0)

    def done_for(self, request: "ffi.CData", operation: Callable[..., None], *args: Any) -> None:
        operation(*args, RequestContext(request))
        lib.fuse_reply_err(request, 0)

    def readlink(self, request: "ffi.CData", inode: int) -> None:
        lib.fuse_reply_readlink(request, self._operations.readlink(inode))

    def getxattr(self, request: "ffi.CData", inode: int, name: bytes, size: int) -> None:
        value = self._operations.getxattr(inode, name)
        if size == 0:
            lib.fuse_reply_xattr(request, len(value))
        elif len(value) > size:
            raise OSError(errno.ERANGE, "the value is larger than the caller's buffer")
        else:
            lib.fuse_reply_buf(request, value, len(value))

    def open(self, request: "ffi.CData", inode: int, flags: int) -> None:
        opened = self._operations.open(inode, flags, RequestContext(request))
        lib.fusecopy_reply_open(request, opened.native())

    def create(self, request: "ffi.CData", parent: int, name: bytes, mode: int, flags: int) -> None:
        opened, entry = self._operations.create(parent, name, mode, flags, RequestContext(request))
        lib.fusecopy_reply_create(request, entry.native, opened.native())

    def opendir(self, request: "ffi.CData", inode: int) -> None:
        lib.fusecopy_reply_open(request, self._operations.opendir(inode).native())

    def readdir(self, request: "ffi.CData", fh: int, size: int, off: int, plus: bool) -> None:
        listing = Listing(size, plus)
        self._operations.readdir(fh, off, listing)
        listing.reply(request)

    def copy_file_range(
        self, request: "ffi.CData", copy: "tuple[int, int, int, int, int, int, int, int]"
    ) -> None:
        ctx = CopyContext(request, lib.fusecopy_reply_copy)
        _answered(ctx, lambda: self._operations.copy_file_range(*copy, ctx))

    def lseek(self, request: "ffi.CData", inode: int, fh: int, off: int, whence: int) -> None:
        lib.fuse_reply_lseek(request, self._operations.lseek(inode, fh, off, whence))

    def ioctl(
        self, request: "ffi.CData", inode: int, fh: int, cmd: int, data: bytes, out_size: int, is_dir: bool
    ) -> None:
        ctx = IoctlContext(request, _reply_ioctl)
        _answered(ctx, lambda: self._operations.ioctl(inode, fh, cmd, data, out_size, is_dir, ctx))

    def slow_read(self, request: "ffi.CData", fh: int, size: int, off: int) -> None:
        lib.fusecopy_finish_read(request, descriptor(fh), size, off)

    def slow_write(
        self,
        request: "ffi.CData",
        fh: int,
        data: "ffi.CData",
        size: int,
        off: int,
        before: int,
        append: int,
        writer: int,
    ) -> None:
        """Write what the native layer did not: it waits, or has no room that is for everybody."""

        def write() -> int:
            written: int = lib.fusecopy_write(descriptor(fh), data, size, off, append)
            if written < 0:
                raise OSError(-written, os.strerror(-written))
            return written

        ctx = RequestContext(request)
        ctx.uid = writer
        try:
            written = self._operations.spend(ctx, write)
        except OSError:
            if not before:
                raise
            written = 0
        finally:
            lib.free(data)
        lib.fuse_reply_write(request, before + written)


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
