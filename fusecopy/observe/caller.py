"""Who sent a request, and what the thread is doing: looked up in /proc while the kernel holds it still.

A request names a thread. It may be gone, or in a pid namespace that this one cannot see, and then what is not
known is said to be unknown.
"""

import resource
from dataclasses import dataclass

FILE_SIZE = b"Max file size"


@dataclass(frozen=True, slots=True)
class Caller:
    """A process as the log names it.

    Attributes:
        pid: its process id; the thread's own where the process is gone or cannot be seen.
        comm: its name.
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
