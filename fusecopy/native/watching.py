"""Watching the backing for what others do to it (watch.h): the native part, for `filesystem/watching.py`.

There is one a process, as there is one session. Functions may be called from any thread; without `begin`
nothing is watched, and none of them does anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fusecopy.native._native import lib


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen so far.

    Attributes:
        events: events read, the server's own among them.
        foreign: events of others.
        notices: what the kernel was told to ask anew.
        overflows: how often events were lost, and everything was asked anew.
        known: inodes that the kernel knows.
        blind: those of them whose changes go unseen.
        marks: directories and files that are marked one by one.
        given_up: marks that made room for others.
        errno: why the last mark was refused; 0 if none was.
    """

    events: int
    foreign: int
    notices: int
    overflows: int
    known: int
    blind: int
    marks: int
    given_up: int
    errno: int


def begin(seconds: float, marks: int) -> int:
    """Watch inodes as they become known. What cannot be watched the kernel believes for `seconds`; at most
    `marks` directories are marked one by one. Returns 0, or the errno with which there is nothing to watch
    with."""
    return -int(lib.fusecopy_watch_begin(seconds, marks))


def seen() -> Seen:
    """The counts by now."""
    w = lib.fusecopy_get_watch()
    return Seen(w.events, w.foreign, w.notices, w.overflows, w.known, w.blind, w.marks, w.given_up, w.error)


def read() -> bool:
    """Read events until there is something new to tell of (an overflow, marks given up, the
    first or last that is blind).
    False at the end. Blocks; for one thread."""
    return bool(lib.fusecopy_watch_read())


def notify() -> None:
    """Tell the kernel what to ask anew, until the end. Blocks; for one thread, which owes no answer."""
    lib.fusecopy_watch_notify()


def end() -> None:
    """Have `read` and `notify` return."""
    lib.fusecopy_watch_end()


def catch_up(seconds: float) -> bool:
    """Read all events and wait until the kernel has been told. False where that takes longer."""
    return bool(lib.fusecopy_watch_catch_up(seconds))


def drain() -> None:
    """Read all events."""
    lib.fusecopy_watch_drain()


def limit(number: int, seconds: float) -> float:
    """For how long the kernel may believe an inode, or the names in a directory: `seconds`, or less."""
    return float(lib.fusecopy_watch_limit(number, seconds))


def has_epochs() -> bool:
    """Whether the kernel can be told to look up all names again (FUSE_NOTIFY_INC_EPOCH, Linux 6.16)."""
    return bool(lib.fusecopy_watch_has_epochs())


def forget_name(directory: int, name: bytes) -> None:
    """Have the kernel look up a name again. May wait for what it asks of that directory."""
    lib.fusecopy_notice_name(directory, name)


def is_suspect(number: int) -> bool:
    """Whether somebody else changed an inode and the kernel has not been told so far."""
    return bool(lib.fusecopy_watch_is_suspect(number))


def changed_since(ns: int, numbers: Sequence[int]) -> bool:
    """Whether somebody else changed the bytes of one of these inodes since `ns` of CLOCK_MONOTONIC."""
    return bool(lib.fusecopy_watch_changed_since(ns, numbers, len(numbers)))
