"""What whoever starts us leaves behind: descriptors, limits, signals. A server must not live by any of it.

Left as they are: environment, nice value, scheduling, the limits of open files and of cores, all of which
people set on purpose.
"""

import os
import resource
import signal
import threading
from contextlib import suppress

STREAMS = ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"))

LIMITS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_MEMLOCK,
    resource.RLIMIT_NPROC,
)
"""Limits that would end the server, or hit programs in the mount which have no such limit themselves."""

STACK_BYTES = 8 << 20
"""Of each thread. The C library takes RLIMIT_STACK, which may be too little or, being unlimited, nothing."""


def fill_streams() -> None:
    """Open /dev/null in place of each standard stream that is closed: else the next file opened takes its
    number, and what is meant for people goes into it."""
    import sys

    for number, name, mode in STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, so this one
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for good


def be_private() -> None:
    """Make what is made from now on for ourselves alone. Files of the mount get their caller's umask, in the
    thread that makes them (Credentials.creating)."""
    os.umask(0o077)


def take_children() -> None:
    """Have our children wait for us: where SIGCHLD is ignored, their exit statuses are lost."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def leave_behind(*keep: int) -> None:
    """Become independent of the starter. To be called by a server, before it has threads.

    Args:
        keep: descriptors to keep besides the standard streams.
    """
    os.chdir("/")
    _close_descriptors({0, 1, 2, *keep})
    _reset_signals()
    for limit in LIMITS:
        _raise(limit)
    threading.stack_size(STACK_BYTES)


def file_size_limit() -> int | None:
    """Bytes to which files can be written at most, where that cannot be raised here; the kernel applies the
    server's limit to whatever programs write through it."""
    _raise(resource.RLIMIT_FSIZE)
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def _close_descriptors(kept: set[int]) -> None:
    for number in map(int, os.listdir("/proc/self/fd")):
        if number not in kept:
            with suppress(OSError):  # the listing's own
                os.close(number)


def _reset_signals() -> None:
    """Python itself ignores SIGPIPE and SIGXFSZ, so that they become errors."""
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _raise(limit: int) -> None:
    """To infinity where we may (CAP_SYS_RESOURCE), else as far as the hard limit."""
    _, hard = resource.getrlimit(limit)
    for wanted in ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), (hard, hard)):
        try:
            resource.setrlimit(limit, wanted)
        except (OSError, ValueError):
            continue
        return
