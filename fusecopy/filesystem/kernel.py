"""System calls that Python's os module lacks, with OSError for their errors."""

import fcntl
import os
from contextlib import suppress

from fusecopy.filesystem._native import ffi, lib

NS_PER_S = 1_000_000_000


class _Now:
    """The type of NOW."""


NOW = _Now()
"""In the place of a time: the present, as the kernel takes it (UTIME_NOW)."""

Time = int | _Now | None
"""Nanoseconds since 1970, NOW, or None: leave it as it is (UTIME_OMIT)."""


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def make_room(count: int) -> None:
    """Have the kernel make this process's table of descriptors large enough for `count` while there is one
    thread: with more, each doubling of it waits some 10 ms for a grace period of RCU (expand_fdtable in
    fs/file.c, Linux 6.18)."""
    descriptor = os.open("/", os.O_PATH | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # no memory for it now, perhaps later
            os.close(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, count - 1))
    finally:
        os.close(descriptor)


def birth_time(fd: int) -> int | None:
    """When a file was created, in nanoseconds since 1970 (statx(2)); None where it is not known."""
    born = ffi.new("int64_t[]", 2)
    return born[0] * NS_PER_S + born[1] if _check(lib.fusecopy_birth_time(fd, born)) else None


def filesystem_type(fd: int) -> int:
    """What statfs(2) calls the filesystem: its f_type."""
    return _check(lib.fusecopy_filesystem_type(fd))


def rename(old_directory: int, old_name: bytes, new_directory: int, new_name: bytes, flags: int) -> None:
    """renameat2(2)."""
    _check(lib.fusecopy_renameat2(old_directory, old_name, new_directory, new_name, flags))


def fallocate(fd: int, mode: int, off: int, length: int) -> None:
    """fallocate(2) with its modes."""
    _check(lib.fusecopy_fallocate(fd, mode, off, length))


def set_times(path: str, atime: Time, mtime: Time) -> None:
    """utimensat(2)."""
    _check(lib.fusecopy_utimens(path.encode(), *_timespec(atime), *_timespec(mtime)))


def _timespec(time: Time) -> tuple[int, int]:
    if time is None:
        return 0, lib.UTIME_OMIT_NS
    if isinstance(time, _Now):
        return 0, lib.UTIME_NOW_NS
    return divmod(time, NS_PER_S)


def ioctl(fd: int, cmd: int, argument: bytes) -> bytes:
    """ioctl(2) with an argument in memory, which is returned as the kernel left it."""
    buffer = ffi.new("char[]", argument)
    _check(lib.fusecopy_ioctl(fd, cmd, buffer))
    return bytes(ffi.buffer(buffer, len(argument)))


def check_dedupe(fd: int, off: int, length: int) -> None:
    """What FIDEDUPERANGE checks of its source, without a destination."""
    _check(lib.fusecopy_check_dedupe(fd, off, length))


def fiemap(fd: int, map_: memoryview, extents: int) -> int:
    """FS_IOC_FIEMAP into `map_`, which has room for `extents`. Returns 0 or the errno, with which the kernel
    may have changed the map all the same."""
    return -int(lib.fusecopy_fiemap(fd, ffi.from_buffer(map_), extents))


def run_anywhere() -> None:
    """Have this thread, and those that it starts, run on any processor: one that was started while a request
    by io_uring is served is bound to that request's (libfuse/uring.c)."""
    with suppress(OSError):  # none of those is ours any more
        os.sched_setaffinity(0, os.sched_getaffinity(os.getpid()))


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Give this thread, and no other, the filesystem ids and supplementary groups named."""
    _check(lib.fusecopy_become(uid, gid, groups, len(groups)))


def capabilities() -> int:
    """This thread's effective capabilities, as a bit mask."""
    effective = ffi.new("uint64_t *")
    _check(lib.fusecopy_capabilities(effective))
    return int(effective[0])


def set_capabilities(effective: int) -> None:
    """Give this thread, and no other, these of its permitted capabilities (a bit mask) and no others."""
    _check(lib.fusecopy_set_capabilities(effective))
