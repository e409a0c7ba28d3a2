"""A command whose copying calls are noted as they begin, and carried out by the kernel as ever.

The filter outlives us where the command leaves something running, and without a supervisor its calls would
fail with ENOSYS. So a process that does nothing else stands by, and lets them go on as soon as we are gone,
killed or not.
"""

import mmap
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from fusecopy import descriptors
from fusecopy.clone._native import ffi, lib
from fusecopy.clone.command import TAKEN, await_end

if TYPE_CHECKING:
    from fusecopy.clone._native import Array


class Kind(IntEnum):
    """What a call does."""

    FICLONE = lib.FUSECOPY_FICLONE
    FICLONERANGE = lib.FUSECOPY_FICLONERANGE
    COPY_FILE_RANGE = lib.FUSECOPY_COPY_FILE_RANGE
    SENDFILE = lib.FUSECOPY_SENDFILE
    SPLICE = lib.FUSECOPY_SPLICE
    OPEN = lib.FUSECOPY_OPEN
    RENAME = lib.FUSECOPY_RENAME
    UMOUNT = lib.FUSECOPY_UMOUNT
    EXIT = lib.FUSECOPY_EXIT


@dataclass(frozen=True, slots=True)
class Noted:
    """A call as it was when it began; what came of it is not known.

    Attributes:
        kind: which.
        thread, process, program: whose.
        time: nanoseconds of CLOCK_REALTIME_COARSE, by which files have their times.
        source, destination: descriptors of ours (O_PATH) for the files it names, to be closed by who takes
            this; -1 where it names none.
        source_number, destination_number: what the caller calls these.
        offset_in, offset_out, length: bytes; a length may reach beyond the file's end.
        writes: of an open, whether for writing.
        path, other: of an open and of a rename, from the root.
    """

    kind: Kind
    thread: int
    process: int
    program: str
    time: int
    source: int
    destination: int
    source_number: int
    destination_number: int
    offset_in: int
    offset_out: int
    length: int
    writes: bool
    path: str
    other: str


class CannotRun(Exception):  # noqa: N818 (its caller makes an error for people of it)
    """The command was not started, or not under the filter.

    Args:
        code: an errno.
        of_command: of execve(2), not of the filter.
    """

    def __init__(self, code: int, of_command: bool) -> None:
        super().__init__(os.strerror(code))
        self.code = code
        self.of_command = of_command


class Notes:
    """What is noted of one command; one in a process, which must have no other threads yet."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start the command. Raises CannotRun."""
        words = [ffi.new("char[]", os.fsencode(word)) for word in command]
        listener, failed = ffi.new("int *"), ffi.new("int *")
        self._process: int = lib.fusecopy_start(
            ffi.new("char *[]", [*words, ffi.NULL]), lib.FUSECOPY_COPIES, listener, failed
        )
        if failed[0] or self._process < 0 or listener[0] < 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)
            raise CannotRun(failed[0] or -min(self._process, listener[0]), bool(failed[0]))
        # Shared with the process that stands by.
        self._memory = ffi.from_buffer("uint64_t[]", mmap.mmap(-1, mmap.PAGESIZE))
        self._told = _stand_by(listener[0], self._memory)
        descriptors.raise_limit()  # two are held for each copy that is still to be looked at
        threading.Thread(target=lib.fusecopy_note, args=(listener[0], self._memory), daemon=True).start()

    def await_end(self) -> int:
        """Wait for the command's end, handing on signals and stopping with it; returns its wait status."""
        try:
            return await_end(self._process)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)

    def next(self, milliseconds: int) -> Noted | None:
        """The next call, in order; None where there is none for so long."""
        noted = lib.fusecopy_next(milliseconds)
        if not noted:
            return None
        try:
            return Noted(
                Kind(noted.kind),
                noted.thread,
                noted.process,
                os.fsdecode(ffi.string(noted.program)),
                noted.time,
                noted.source,
                noted.destination,
                noted.source_number,
                noted.destination_number,
                noted.offset_in,
                noted.offset_out,
                noted.length,
                bool(noted.writes),
                os.fsdecode(ffi.string(noted.path)) if noted.path else "",
                os.fsdecode(ffi.string(noted.other)) if noted.other else "",
            )
        finally:
            lib.fusecopy_forget(noted)

    def unseen(self) -> int:
        """Calls of which nothing could be noted, because their process may not be looked at."""
        count: int = lib.fusecopy_unnoted()
        return count

    def let_unmount(self) -> None:
        """Let a noted umount(2) go on: no descriptor of ours is open any more."""
        lib.fusecopy_let_unmount()


def _stand_by(listener: int, current: "Array[int]") -> int:
    """Start the process that stands by; returns what is to stay open as long as we note."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.chdir("/")  # whoever unmounts where the command was must not wait for us
        # Whoever reads what the command writes waits for the end of that, not for ours.
        keep = sorted((listener, reading))
        os.closerange(0, keep[0])
        os.closerange(keep[0] + 1, keep[1])
        os.closerange(keep[1] + 1, os.sysconf("SC_OPEN_MAX"))
        lib.fusecopy_stand_by(listener, reading, current)
    finally:
        os._exit(0)
