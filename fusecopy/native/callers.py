"""Who sent a request (callers.c)."""

from typing import TYPE_CHECKING, NamedTuple

from fusecopy.native._native import ffi, lib

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyCaller

ARGS_BYTES: int = lib.FUSECOPY_ARGS_BYTES
"""How much of a command line is kept."""

REMEMBERED: int = lib.FUSECOPY_CALLERS
"""Threads that are remembered: few, as each keeps three descriptors that open files may want."""


class Thread(NamedTuple):
    """A thread as /proc has it.

    Attributes:
        pid: its process.
        parent: the process's parent when the thread was first seen.
        group: the process group, 0 where that is not known.
        uid: the request's user, or else the process's.
        comm: the thread's name, as the kernel ends it by a newline.
        args: the beginning of the command line, each word ended by a null.
        exe: path of the program, empty where that may not be seen.
    """

    pid: int
    parent: int
    group: int
    uid: int
    comm: bytes
    args: bytes
    exe: bytes

    @classmethod
    def of(cls, c: "FusecopyCaller") -> "Thread":
        """From a struct fusecopy_caller."""
        return cls(
            c.pid,
            c.parent,
            c.group,
            c.uid,
            ffi.unpack(c.comm, c.comm_size),
            ffi.unpack(c.args, c.args_size),
            ffi.unpack(c.exe, c.exe_size),
        )


def look(number: int, uid: int | None) -> Thread | None:
    """A thread as it is now; None where it is gone, or cannot be seen. Any thread may ask. `uid` is the
    request's, without it the process's own is looked up."""
    caller = ffi.new("struct fusecopy_caller *")
    error = lib.fusecopy_identify(number, -1 if uid is None else uid, caller)
    return None if error else Thread.of(caller)


def sees_threads() -> bool:
    """Whether /proc shows the threads that requests name. In another pid namespace's /proc, as where a server
    was started by unshare --pid alone, their numbers are other processes'."""
    return bool(lib.fusecopy_sees_threads())


def remember(count: int) -> None:
    """Remember at most so many, from the beginning."""
    lib.fusecopy_remember_callers(count)


def forget() -> None:
    """Close the descriptors of those remembered."""
    lib.fusecopy_forget_callers()
