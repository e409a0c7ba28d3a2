"""Coherence: for how long the kernel may believe what it was told of the backing, and who takes it back.

`watched`: for long; what others do to the backing is seen by fanotify and taken back (native/watch.h). Where
that cannot be, for BLIND_SECONDS, and it is said. `timeouts`: for as long as the mount's options say, or
never. `none`: for long, because nobody else changes the backing.
"""

import errno
import platform
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from fusecopy.dispatch.records import Coherence, Record, timestamp
from fusecopy.native import watching
from fusecopy.native.inodes import ROOT

LONG = 3600.0
"""What is taken back when it changes; but nothing is for ever."""

BLIND_SECONDS = 1.0
"""How long the kernel may believe what it was told of files whose changes nobody tells us."""

CATCH_UP_SECONDS = 2.0

MOST_MARKS = 65536
"""Directories that are marked one by one; each keeps some 1.3 KiB of the kernel's memory."""

MAX_USER_MARKS = Path("/proc/sys/fs/fanotify/max_user_marks")

EPOCHS = (6, 16)
"""From this Linux on, all names can be taken back at once (FUSE_NOTIFY_INC_EPOCH)."""

UNSEEN = "Changes by others are not seen at once"

CAUSES = {
    errno.ENOSPC: (
        f"{UNSEEN} in all directories: more are in use than may be watched.",
        f"As root, raise fs.fanotify.max_user_marks (sysctl; at most {MOST_MARKS} count), or serve as root.",
    ),
    errno.EMFILE: (
        f"{UNSEEN}: there are too many watchers.",
        "As root, raise fs.fanotify.max_user_groups (sysctl), or serve as root.",
    ),
    errno.EACCES: (
        f"{UNSEEN} in directories that the server may not read.",
        "Serve as their owner, or as root.",
    ),
    errno.EPERM: (
        f"{UNSEEN}: this kernel lets only root watch.",
        "Use Linux 5.13 or later, or serve as root.",
    ),
}

NO_EVENTS = (
    f"{UNSEEN}: the filesystem does not report all of them.",
    "Mount with --coherent where a second is too long.",
)


class Watching:
    """What is in force in one mount, and the threads behind it.

    Attributes:
        changed: called when it changes whether all is seen.
        names: the names that the kernel may know, each with its directory's number.
    """

    def __init__(self, watched: bool, exclusive: bool, timeout: float, put: Callable[[Record], None]) -> None:
        """Begin to watch, if that is wanted: before any inode is known.

        Args:
            timeout: seconds for which the kernel may believe what it is told.
            put: takes records for the log; must not block.
        """
        self.changed: Callable[[], None] = lambda: None
        self.names: Callable[[], Iterable[tuple[int, bytes]]] = list
        self._watched = watched
        self._exclusive = exclusive
        self._timeout = timeout
        self._put = put
        self._overflows = 0
        self._taken_back = 0
        self._was_blind = False
        self._threads = [
            threading.Thread(target=self._read, name="watch", daemon=True),
            threading.Thread(target=watching.notify, name="notices", daemon=True),
        ]
        if watched:
            watching.begin(BLIND_SECONDS, _marks())

    @property
    def sees_all(self) -> bool:
        """Whether nobody changes the backing unseen."""
        return self._exclusive or (self._watched and not watching.seen().blind)

    @property
    def negative_timeout(self) -> float:
        """Seconds for which the kernel may believe that a name is not there: such names are not known one by
        one, when after an overflow all are to be taken back."""
        if self._watched and _kernel() < EPOCHS:
            return min(self._timeout, BLIND_SECONDS)
        return self._timeout

    def changed_since(self, ns: int, *numbers: int) -> bool:
        """Whether somebody else changed the bytes of one of these inodes since `ns` of CLOCK_MONOTONIC."""
        return self._watched and watching.changed_since(ns, numbers)

    def start(self) -> None:
        """Tell the kernel of changes from now on: once there is a mount."""
        if self._watched:
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """End the threads: once there is none any more."""
        if self._watched:
            watching.end()
            for thread in self._threads:
                if thread.ident:
                    thread.join(CATCH_UP_SECONDS)

    def state(self) -> str:
        """What is in force, in words: `watched`, `timeouts N s`, `none`."""
        return self._words(watching.seen().blind)

    def _words(self, blind: int) -> str:
        if self._exclusive:
            return "none"
        if not self._watched:
            return f"timeouts {self._timeout:g} s"
        if watching.limit(ROOT, LONG) < LONG:
            return f"timeouts {BLIND_SECONDS:g} s"
        return f"watched, timeouts {BLIND_SECONDS:g} s for {blind} inodes" if blind else "watched"

    def caught_up(self) -> str:
        """The same, once the kernel knows of all that happened so far."""
        if self._watched:
            watching.catch_up(CATCH_UP_SECONDS)
        return self.state()

    def report_blind(self) -> None:
        """Say in the log what is not seen, or that all is seen again; once."""
        seen = watching.seen()
        blind = self._watched and seen.blind > 0
        if blind == self._was_blind:
            return
        self._was_blind = blind
        cause, remedy = CAUSES.get(seen.errno, NO_EVENTS) if blind else ("All changes are seen again.", "")
        self._put(Coherence(timestamp(), self._words(seen.blind), cause, remedy))
        self.changed()

    def _read(self) -> None:
        while watching.read():
            self.report_blind()
            self._report_overflow()
            self._forget_names()

    def _report_overflow(self) -> None:
        overflows = watching.seen().overflows
        if overflows != self._overflows:
            self._overflows = overflows
            cause = "More changed at once than the kernel's queue holds, so all it knew is looked up again."
            self._put(Coherence(timestamp(), self.state(), cause, ""))

    def _forget_names(self) -> None:
        """After what took all names back: one by one, where the kernel has no notice for all."""
        seen = watching.seen()
        taken_back = seen.overflows + seen.given_up
        if taken_back != self._taken_back and not watching.has_epochs():
            for directory, name in self.names():
                watching.forget_name(directory, name)
        self._taken_back = taken_back


def _marks() -> int:
    """How many directories may be marked: others of this user want some, too."""
    try:
        return min(int(MAX_USER_MARKS.read_text()) * 3 // 4, MOST_MARKS)
    except (OSError, ValueError):
        return MOST_MARKS


def _kernel() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)
