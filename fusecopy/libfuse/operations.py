"""The operations that pyfuse3 lacks, in its style."""

import errno
from dataclasses import dataclass

import pyfuse3

from fusecopy.libfuse._native import ffi, lib


class RequestContext:
    """Who sent a request, and whether they still wait for it.

    Attributes:
        uid, gid: the caller's filesystem ids.
        pid: the calling thread's id; 0 where it has none in the mount's pid namespace.
        umask: the caller's umask.
    """

    __slots__ = ("_request", "gid", "pid", "uid", "umask")

    def __init__(self, request: "ffi.CData") -> None:
        context = lib.fuse_req_ctx(request)
        self._request = request
        self.uid: int = context.uid
        self.gid: int = context.gid
        self.pid: int = context.pid
        self.umask: int = context.umask

    def interrupted(self) -> bool:
        """Whether the kernel sent FUSE_INTERRUPT, because the caller got a signal. Any thread may ask,
        until the request is answered."""
        return bool(lib.fuse_req_interrupted(self._request))


@dataclass(frozen=True, slots=True)
class SetattrFields:
    """What a SETATTR changes: pyfuse3's fields, and whether a time is the present one (UTIME_NOW).

    The difference matters: whoever may write a file may set its times to the present, only its owner may
    set others (utimensat(2)).
    """

    update_atime: bool
    update_mtime: bool
    update_ctime: bool
    update_mode: bool
    update_uid: bool
    update_gid: bool
    update_size: bool
    atime_now: bool
    mtime_now: bool


class Operations(pyfuse3.Operations):
    """pyfuse3's operations and those it lacks.

    `read` and `write` are not called: handles are `NativeFile`s. Methods raise `pyfuse3.FUSEError`; any
    other exception answers EIO to that one caller and is logged with its traceback.
    """

    def ended(self) -> None:
        """Called when no more requests will come, before those under way are waited for: hurry them."""

    def look(self, fh: int, pid: int, writes: bool) -> None:
        """Called at `pid`'s first READ of `fh`, at its first WRITE, and when the size of its WRITEs changes,
        while it waits for the answer. Must be quick, must not raise. `pid` is WRITEBACK for mapped pages
        that the kernel writes."""

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
        """Copy up to `length` bytes between two open files and return how many were copied.

        Both opcodes arrive here: COPY_FILE_RANGE (47) and, from Linux 6.18 on, COPY_FILE_RANGE_64 (53),
        whose length may be the whole of a file of any size. `flags` is always 0 today. A count after any
        progress, never an error then: on an error the kernel neither drops the destination's cached pages
        nor grows its size. 0 only at the end of the source. EOPNOTSUPP and EXDEV make the kernel copy by its
        own splice, this time; ENOSYS makes it never ask again on this connection (fs/fuse/file.c, Linux 6.1
        to 7.2); any other errno goes to the program.
        """
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def lseek(self, inode: int, fh: int, off: int, whence: int, ctx: RequestContext) -> int:
        """Find the next data or hole at or after `off`; `whence` is SEEK_DATA or SEEK_HOLE.

        ENOSYS is for good: the kernel then takes every file for one piece of data.
        """
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def fallocate(
        self, inode: int, fh: int, mode: int, off: int, length: int, ctx: RequestContext
    ) -> None:
        """Allocate, punch, zero, collapse or insert a range; `mode` as in fallocate(2).

        ENOSYS is for good: the kernel then answers EOPNOTSUPP by itself.
        """
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def ioctl(
        self, inode: int, fh: int, cmd: int, data: bytes, out_size: int, is_dir: bool, ctx: RequestContext
    ) -> bytes:
        """Carry out ioctl `cmd` with the argument `data` and return at most `out_size` bytes.

        ENOTTY is the answer to an unknown `cmd`; 0 to TCGETS would make programs believe in a terminal.
        """
        raise pyfuse3.FUSEError(errno.ENOTTY)
