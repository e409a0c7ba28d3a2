"""One mounted session: what ops.c hands to Python, and pyfuse3's init, main and close around it.

Handlers run on trio's thread inside fuse_session_process_buf and return at once; the tasks they start answer
later. pyfuse3 has one session a process, and so have we.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyfuse3
import trio

from fusecopy.errors import FuseUnavailableError, MountRefusedError
from fusecopy.libfuse._native import ffi, lib
from fusecopy.libfuse.files import descriptor
from fusecopy.libfuse.operations import Operations, RequestContext, SetattrFields

log = logging.getLogger(__name__)

_Copy = tuple[int, int, int, int, int, int, int, int]
"""The arguments of Operations.copy_file_range, up to flags."""

EIO = 5
NS_PER_S = 1_000_000_000

DATA_THREADS = 32
"""Reads and writes that wait for a disk at the same time."""

MAX_TASKS = 200
"""Requests pyfuse3 may have under way; above what any worker limit lets through at once."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What the kernel and libfuse agreed on; protocol is (0, 0) before the first request.

    Attributes:
        protocol: the kernel's FUSE protocol.
        max_write: bytes of the largest WRITE.
        requests: requests received so far, by opcode.
    """

    protocol: tuple[int, int]
    max_write: int
    requests: dict[int, int]


class _Session:
    """The running session's operations, its tasks, and the threads its data may wait in."""

    def __init__(self, operations: Operations) -> None:
        self.operations = operations
        self.nursery: trio.Nursery | None = None
        self.data_threads = trio.CapacityLimiter(DATA_THREADS)

    def start(self, request: "ffi.CData", task: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run `task(*args)`, which answers `request`, in the background."""
        if self.nursery is None:
            lib.fuse_reply_err(request, EIO)
        else:
            self.nursery.start_soon(_answer, request, task, *args)


_session: _Session


def versions() -> dict[str, str]:
    """Versions of pyfuse3 and libfuse, for people."""
    return {"pyfuse3": pyfuse3.__version__, "libfuse": ffi.string(lib.fuse_pkgversion()).decode()}


def init(operations: Operations, mountpoint: str, options: Iterable[str]) -> None:
    """Mount, as pyfuse3.init does, with our operations added to pyfuse3's.

    Left out of what libfuse asks the kernel for are ATOMIC_O_TRUNC and HANDLE_KILLPRIV, so that the kernel
    itself sends the SETATTR that drops setuid and setgid bits, before writes, truncations and copies
    (COPY_FILE_RANGE has no flag that would ask the server to: fs/fuse/file.c, Linux 6.1 to 7.2), and splicing
    from and to /dev/fuse: reads and writes go through one buffer. Asked for is DONT_MASK, since only the
    server can tell whether a default ACL takes the umask's place.

    Raises:
        MountRefusedError: the kernel or fusermount3 would not mount; their reason is on stderr.
        FuseUnavailableError: pyfuse3 did not bind to the native layer.
    """
    global _session
    connection = lib.fusecopy_get_connection()
    connection.want = lib.FUSE_CAP_DONT_MASK
    connection.refuse = (
        lib.FUSE_CAP_ATOMIC_O_TRUNC
        | lib.FUSE_CAP_HANDLE_KILLPRIV
        | lib.FUSE_CAP_SPLICE_READ
        | lib.FUSE_CAP_SPLICE_WRITE
        | lib.FUSE_CAP_SPLICE_MOVE
    )
    _session = _Session(operations)
    try:
        pyfuse3.init(operations, mountpoint, set(options))
    except RuntimeError as error:
        raise MountRefusedError(
            f"{mountpoint}: the mount was refused ({error})", "the reason is in the lines above"
        ) from error
    if not lib.fusecopy_installed():
        pyfuse3.close(unmount=True)
        raise FuseUnavailableError(
            "pyfuse3 does not use fusecopy's libfuse layer: it was built against another libfuse",
            "build pyfuse3 and fusecopy again against the same libfuse (pip install --force-reinstall"
            " --no-binary :all: pyfuse3 fusecopy)",
        )


async def main() -> None:
    """Serve until the file system is unmounted, and until every request under way is answered."""
    async with trio.open_nursery() as nursery:
        _session.nursery = nursery
        try:
            await pyfuse3.main(min_tasks=2, max_tasks=MAX_TASKS)
        finally:
            _session.nursery = None
            _session.operations.ended()


def close(unmount: bool = True) -> None:
    """Clean up; see pyfuse3.close."""
    pyfuse3.close(unmount=unmount)


def connection() -> Connection:
    """What was agreed at INIT."""
    c = lib.fusecopy_get_connection()
    requests = {opcode: int(count) for opcode, count in enumerate(c.requests) if count}
    return Connection((c.major, c.minor), c.max_write, requests)


# ---- answering ---------------------------------------------------------------------------------------


async def _answer(request: "ffi.CData", task: Callable[..., Awaitable[None]], *args: Any) -> None:
    """Run a task that replies; whatever it raises becomes that caller's errno and never ends the mount."""
    try:
        await task(request, *args)
    except pyfuse3.FUSEError as error:
        lib.fuse_reply_err(request, error.errno)
    except trio.Cancelled:
        lib.fuse_reply_err(request, EIO)
        raise
    except Exception:
        log.exception("unexpected error in %s; its caller got EIO", task.__name__)
        lib.fuse_reply_err(request, EIO)


async def _in_thread(function: Callable[..., None], *args: Any) -> None:
    await trio.to_thread.run_sync(function, *args, limiter=_session.data_threads)


async def _slow_read(request: "ffi.CData", fh: int, size: int, off: int) -> None:
    await _in_thread(lib.fusecopy_finish_read, request, descriptor(fh), size, off)


async def _slow_write(
    request: "ffi.CData", fh: int, data: "ffi.CData", size: int, off: int, before: int, append: int
) -> None:
    await _in_thread(lib.fusecopy_finish_write, request, descriptor(fh), data, size, off, before, append)


async def _setattr(
    request: "ffi.CData", inode: int, attr: pyfuse3.EntryAttributes, fields: SetattrFields, fh: int | None
) -> None:
    ctx: Any = RequestContext(request)
    entry = await _session.operations.setattr(inode, attr, fields, fh, ctx)  # type: ignore[arg-type]
    reply = ffi.new("struct fusecopy_attributes *")
    for name in ("ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"):
        setattr(reply, name, getattr(entry, f"st_{name}"))
    for name in ("atime", "mtime", "ctime"):
        seconds, nanoseconds = divmod(getattr(entry, f"st_{name}_ns"), NS_PER_S)
        setattr(reply, f"{name}_s", seconds)
        setattr(reply, f"{name}_ns", nanoseconds)
    lib.fusecopy_reply_attr(request, reply, entry.attr_timeout)


async def _copy_file_range(
    request: "ffi.CData", copy: "tuple[int, int, int, int, int, int, int, int]"
) -> None:
    count = await _session.operations.copy_file_range(*copy, ctx=RequestContext(request))
    lib.fusecopy_reply_copy(request, count)


async def _lseek(request: "ffi.CData", inode: int, fh: int, off: int, whence: int) -> None:
    found = await _session.operations.lseek(inode, fh, off, whence, RequestContext(request))
    lib.fuse_reply_lseek(request, found)


async def _fallocate(request: "ffi.CData", inode: int, fh: int, mode: int, off: int, length: int) -> None:
    await _session.operations.fallocate(inode, fh, mode, off, length, RequestContext(request))
    lib.fuse_reply_err(request, 0)


async def _ioctl(
    request: "ffi.CData", inode: int, fh: int, cmd: int, data: bytes, out_size: int, is_dir: bool
) -> None:
    ctx = RequestContext(request)
    out = await _session.operations.ioctl(inode, fh, cmd, data, out_size, is_dir, ctx)
    lib.fuse_reply_ioctl(request, 0, ffi.from_buffer(out), len(out))


# ---- called by ops.c ---------------------------------------------------------------------------------


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_look(fh: int, pid: int, writes: int) -> None:
    _session.operations.look(fh, pid, bool(writes))


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_slow_read(request: "ffi.CData", fh: int, size: int, off: int) -> None:
    _session.start(request, _slow_read, fh, size, off)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_slow_write(
    request: "ffi.CData", fh: int, data: "ffi.CData", size: int, off: int, before: int, append: int
) -> None:
    _session.start(request, _slow_write, fh, data, size, off, before, append)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_setattr(request: "ffi.CData", inode: int, change: "ffi.CData") -> None:
    attr = pyfuse3.EntryAttributes()
    attr.st_mode, attr.st_uid, attr.st_gid, attr.st_size = change.mode, change.uid, change.gid, change.size
    attr.st_atime_ns = change.atime_s * NS_PER_S + change.atime_ns
    attr.st_mtime_ns = change.mtime_s * NS_PER_S + change.mtime_ns
    _session.start(
        request, _setattr, inode, attr, _fields(change.to_set), change.fh if change.has_fh else None
    )


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_copy_file_range(request: "ffi.CData", c: "ffi.CData") -> None:
    copy = (c.inode_in, c.fh_in, c.off_in, c.inode_out, c.fh_out, c.off_out, c.length, c.flags)
    _session.start(request, _copy_file_range, copy)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_lseek(request: "ffi.CData", inode: int, fh: int, off: int, whence: int) -> None:
    _session.start(request, _lseek, inode, fh, off, whence)


@ffi.def_extern()  # type: ignore[untyped-decorator]
def on_fallocate(request: "ffi.CData", inode: int, fh: int, mode: int, off: int, length: int) -> None:
    _session.start(request, _fallocate, inode, fh, mode, off, length)


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
    _session.start(request, _ioctl, inode, fh, cmd, argument, out_size, bool(flags & lib.FUSE_IOCTL_DIR))


def _fields(to_set: int) -> SetattrFields:
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
    )
