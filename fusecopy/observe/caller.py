"""Who sent a request, looked up in /proc while the kernel holds the caller still.

A request names a thread. Looking a process up costs some tens of microseconds; it may be gone, or in a pid
namespace that this one cannot see, and then what is not known is said to be unknown.
"""

import os
from dataclasses import dataclass

UNKNOWN = "unknown"

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


SOURCES = {"copy_file_range": 1, "sendfile": 2, "splice": 1}
"""Which argument, from 1, is the descriptor that a call reads from."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that moves bytes.

    Attributes:
        driver: its name as the log has it.
        source: path of the file it reads from; empty where the call names none, or what it names has no path.
    """

    driver: str = UNKNOWN
    source: bytes = b""


@dataclass(frozen=True, slots=True)
class Caller:
    """A process as the log names it."""

    pid: int
    comm: str
    uid: int


def identify(thread: int, uid: int) -> Caller:
    """The process of a thread; `uid` is the request's, which counts."""
    pid, comm = thread, "?"
    try:
        with open(f"/proc/{thread}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Name:"):
                    comm = line.split(b"\t", 1)[1].rstrip(b"\n").decode(errors="replace")
                elif line.startswith(b"Tgid:"):
                    pid = int(line.split()[1])
                    break
    except OSError:
        pass
    return Caller(pid, comm, uid)


def uid_of(thread: int) -> int:
    """Effective user id of a thread; -1 where it is gone."""
    try:
        with open(f"/proc/{thread}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Uid:"):
                    return int(line.split()[2])
    except OSError:
        pass
    return -1


def system_call(thread: int) -> Call:
    """The call a waiting thread is in, by /proc/PID/syscall, which wants the rights of ptrace(2)."""
    try:
        with open(f"/proc/{thread}/syscall", "rb") as syscall:
            words = syscall.read().split()
    except OSError:
        return Call()
    driver = DRIVERS.get(words[0], UNKNOWN)
    return Call(driver, _path(thread, words[SOURCES[driver]]) if driver in SOURCES else b"")


def _path(thread: int, descriptor: bytes) -> bytes:
    """Path of what a thread has open as `descriptor` (hexadecimal); empty where there is none to see."""
    try:
        path = os.readlink(f"/proc/{thread}/fd/{int(descriptor, 16)}".encode())
    except OSError:
        return b""
    return path if path.startswith(b"/") else b""
