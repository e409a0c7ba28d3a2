"""Who sent a request, and what the thread is doing: looked up in /proc while the kernel holds it still.

A request names a thread. It may be gone, or in a pid namespace that this one cannot see, and then what is not
known is said to be unknown.
"""

import os
import resource
from dataclasses import dataclass

UNKNOWN = "unknown"

IO_URING_WORKER = "iou-wrk-"
"""The kernel's threads that work for a process's io_uring are its threads, but in no system call of it."""

DRIVERS = {
    b"326": "copy_file_range",
    b"40": "sendfile",
    b"275": "splice",
    b"0": "read",
    b"17": "read",
    b"19": "read",
    b"295": "read",
    b"327": "read",
    b"1": "write",
    b"18": "write",
    b"20": "write",
    b"296": "write",
    b"328": "write",
    b"-1": "mmap",
}
"""By number on x86-64: read, pread64, readv, preadv, preadv2 and the writes alike; -1 is a page fault."""


FILE_SIZE = b"Max file size"

IOCTL = (b"16 ", b"54 ")
"""ioctl(2), likewise, and that of 32-bit programs."""

SOURCES = {"copy_file_range": 1, "sendfile": 2, "splice": 1}
"""Which argument, from 1, is the descriptor that a call reads from."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that moves bytes.

    Attributes:
        driver: its name as the log has it.
        source: path of the file it reads from; empty where the call names none, or what it names has no path.
        hidden: we may not look; the driver is unknown for want of rights.
    """

    driver: str = UNKNOWN
    source: bytes = b""
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """A process as the log names it.

    Attributes:
        pid: its process id; the thread's own where the process is gone or cannot be seen.
        comm: the calling thread's name.
        uid: the request's user.
        parent: process id of its parent when it was first seen, 0 where that is not known. It gets another
            when that one ends.
        group: its process group, 0 where that is not known.
        exe: path of its program, empty where that may not be seen.
        args: the beginning of its command line.
    """

    pid: int
    comm: str
    uid: int
    parent: int = 0
    group: int = 0
    exe: str = ""
    args: str = ""


def system_call(thread: int, comm: str) -> Call:
    """The call that a waiting thread, of the name `comm`, is in: by /proc/PID/syscall, which wants the rights
    of ptrace(2)."""
    if comm.startswith(IO_URING_WORKER):
        return Call()
    try:
        with open(f"/proc/{thread}/syscall", "rb") as syscall:
            words = syscall.read().split()
    except PermissionError:
        return Call(hidden=True)
    except OSError:
        return Call()
    driver = DRIVERS.get(words[0], UNKNOWN)
    return Call(driver, _path(thread, words[SOURCES[driver]]) if driver in SOURCES else b"")


def in_ioctl(thread: int) -> bool:
    """Whether a thread is seen to wait in ioctl(2), which wants the rights of ptrace(2)."""
    try:
        with open(f"/proc/{thread}/syscall", "rb") as syscall:
            return syscall.read().startswith(IOCTL)
    except OSError:
        return False


def file_size_limit(thread: int) -> int | None:
    """RLIMIT_FSIZE in bytes; None where there is none, or the thread is gone. prlimit(2) tells it of threads
    of our own user; of others it would want CAP_SYS_RESOURCE even of root, and /proc does not."""
    if not thread:  # prlimit(2) would take it for ourselves
        return None
    try:
        limit = resource.prlimit(thread, resource.RLIMIT_FSIZE)[0]
    except OSError:
        return _file_size_limit(thread)
    return None if limit == resource.RLIM_INFINITY else limit


def _file_size_limit(thread: int) -> int | None:
    try:
        with open(f"/proc/{thread}/limits", "rb") as limits:
            words = next(line for line in limits if line.startswith(FILE_SIZE))[len(FILE_SIZE) :].split()
    except OSError:
        return None
    return None if words[0] == b"unlimited" else int(words[0])


def _path(thread: int, descriptor: bytes) -> bytes:
    """Path of what a thread has open as `descriptor` (hexadecimal); empty where there is none to see."""
    try:
        path = os.readlink(f"/proc/{thread}/fd/{int(descriptor, 16)}".encode())
    except OSError:
        return b""
    return path if path.startswith(b"/") else b""
