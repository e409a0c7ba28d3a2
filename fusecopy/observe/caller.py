"""Who sent a request, looked up in /proc while the kernel holds the caller still.

A request names a thread. It may be gone, or in a pid namespace that this one cannot see, and then what is not
known is said to be unknown.
"""

import os
import resource
import threading
from contextlib import ExitStack
from dataclasses import dataclass

UNKNOWN = "unknown"

ARGS_BYTES = 120
"""How much of a command line is kept."""

COMM_BYTES = 64
"""More than any thread's name has."""

STATUS_BYTES = 512
"""More of /proc/PID/status than comes before and with PPid."""

REMEMBERED = 16
"""Threads that are remembered: few, as each keeps descriptors that open files may want."""

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
        args: the beginning of its command line, ARGS_BYTES of it.
    """

    pid: int
    comm: str
    uid: int
    parent: int = 0
    group: int = 0
    exe: str = ""
    args: str = ""


class Callers:
    """Looks up who sent requests, and remembers the last of them. Methods may run in any thread.

    A remembered thread's directory in /proc is held open, and all that may change is read in it each time: a
    thread that has its number later, or a program that it has executed since, is not taken for it.

    Reading a command line touches the program's memory. A page of that may come from the very mount, and then
    another thread of the server has to serve the READ; so no lock is held meanwhile.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        """Remember at most `limit` threads, with three descriptors each."""
        self._limit = limit
        self._threads: dict[int, _Thread] = {}
        self._lock = threading.Lock()

    def identify(self, thread: int, uid: int | None = None) -> Caller:
        """The process of a thread; `uid` is the request's, without it the thread's own counts (-1: gone)."""
        with self._lock:
            known = self._threads.pop(thread, None)
        if known:
            try:
                return self._look(thread, known, uid)
            except OSError:
                pass  # it is gone; there may be another of its number
        try:
            return self._look(thread, _Thread(thread), uid)
        except OSError:
            return Caller(thread, "?", -1 if uid is None else uid, group=_group(thread))

    def close(self) -> None:
        """Forget everybody."""
        with self._lock:
            threads, self._threads = self._threads, {}
        for known in threads.values():
            known.close()

    def _look(self, thread: int, known: "_Thread", uid: int | None) -> Caller:
        try:
            caller = known.caller(uid)
        except OSError:
            known.close()
            raise
        self._remember(thread, known)
        return caller

    def _remember(self, thread: int, known: "_Thread") -> None:
        """Put a thread last of all; the first goes where there are too many, and what came in between too."""
        with self._lock:
            gone = [self._threads.pop(thread)] if thread in self._threads else []
            self._threads[thread] = known
            if len(self._threads) > self._limit:
                gone.append(self._threads.pop(next(iter(self._threads))))
        for other in gone:
            other.close()


class _Thread:
    """A thread that may be gone at any moment: then every look at it raises OSError (ESRCH)."""

    __slots__ = ("_args", "_caller", "_comm", "_directory", "_parent", "_pid", "_seen")

    def __init__(self, thread: int) -> None:
        """Raises OSError: there is no such thread, or it may not be seen."""
        with ExitStack() as opened:
            self._directory = os.open(f"/proc/{thread}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, self._directory)
            status = _read(self._directory, "status")
            self._pid, self._parent = _number(status, b"Tgid"), _number(status, b"PPid")
            self._comm = os.open("comm", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
            opened.callback(os.close, self._comm)
            self._args = os.open("cmdline", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
            opened.pop_all()
        self._seen: tuple[object, ...] = ()
        self._caller = Caller(thread, "?", -1)

    def caller(self, uid: int | None) -> Caller:
        """Its process as it is now."""
        seen = (
            os.fstat(self._directory).st_uid if uid is None else uid,
            _group(self._pid),
            _exe(self._directory),
            os.pread(self._args, ARGS_BYTES, 0),
            # Last: while this can be read the thread is there, and so was what was read before.
            os.pread(self._comm, COMM_BYTES, 0),
        )
        if seen != self._seen:
            user, group, exe, args, comm = self._seen = seen
            self._caller = Caller(
                pid=self._pid,
                comm=comm.removesuffix(b"\n").decode(errors="replace"),
                uid=user,
                parent=self._parent,
                group=group,
                exe=exe.decode(errors="replace"),
                args=args.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace"),
            )
        return self._caller

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self._args, self._comm, self._directory):
            os.close(descriptor)


def _read(directory: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(descriptor, STATUS_BYTES)
    finally:
        os.close(descriptor)


def _number(status: bytes, key: bytes) -> int:
    return int(status.partition(b"\n%s:\t" % key)[2].partition(b"\n")[0])


def _group(thread: int) -> int:
    try:
        return os.getpgid(thread) if thread > 0 else 0
    except OSError:
        return 0


def _exe(directory: int) -> bytes:
    try:
        return os.readlink(b"exe", dir_fd=directory)
    except OSError:
        return b""


CALLERS = Callers()
"""Those of this process, which serves one mount."""

identify = CALLERS.identify


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
