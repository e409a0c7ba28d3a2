"""Reflink ioctls that the kernel has refused to anybody on this machine, by its tracepoints (root, tracefs).

The kernel refuses FICLONE and its like on FUSE before it asks the server, so nothing else tells of them.
While these tracepoints are on, every system call of every process costs some 40 ns more (measured on Linux
6.18), as under any seccomp filter; a reader is woken only by the ioctls themselves.
"""

import errno
import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from fusecopy.copying import errnos
from fusecopy.observe import tracefs
from fusecopy.observe.calls import CLONES
from fusecopy.observe.events import Enter, Exit, parse

log = logging.getLogger(__name__)

ASKED = {**CLONES, 0xC020660B: "FIEMAP"}
"""And _IOWR('f', 11, struct fiemap) of linux/fs.h."""

NEEDED = ("syscalls/sys_enter_ioctl", "syscalls/sys_exit_ioctl")

ENTERED = " || ".join(f"cmd == {number:#x}" for number in ASKED)

LEFT = "ret < 0 && " + " && ".join(f"ret != -{code}" for code in (errno.ENOTTY, errno.EINTR, errno.EAGAIN))
"""Every failure of these ioctls on FUSE, and few of others: a call of ours that failed is then the first exit
of its thread. On FUSE none succeeds."""

REFUSALS = (errno.EOPNOTSUPP, errno.EXDEV)
"""What the kernel says of a file of FUSE: by itself, and of a pair of which it is one (vfs_clone_file_range
and vfs_dedupe_file_range of fs/remap_range.c, ioctl_fiemap of fs/ioctl.c, Linux 6.1 to 7.2)."""

OPEN = 1024
"""Of calls that succeeded, in other filesystems, the end is not seen: so many are kept at most."""

BUFFER_KIB = 64
PAGE = 1 << 16


@dataclass(frozen=True, slots=True)
class Refused:
    """An ioctl that the kernel has refused.

    Attributes:
        thread: who asked.
        asked: FICLONE, FICLONERANGE, FIDEDUPERANGE or FIEMAP.
        descriptor: of the file asked.
        source: descriptor of FICLONE's source; None where the arguments do not have it.
        errno: the refusal.
        begun_ns, ended_ns: CLOCK_MONOTONIC.
    """

    thread: int
    asked: str
    descriptor: int
    source: int | None
    errno: int
    begun_ns: int
    ended_ns: int

    @property
    def name(self) -> str:
        """The errno's name."""
        return errnos.name(self.errno)


class RefusedIoctls:
    """Tells of refused ioctls from `start` to `stop`; `tell` is called by one thread at a time."""

    def __init__(self, tell: Callable[[Refused], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._open: dict[int, tuple[Enter, str]] = {}
        self._stack = ExitStack()
        self._pipe = -1

    @property
    def sees(self) -> bool:
        """Whether it is told of all."""
        return self._pipe >= 0

    def start(self) -> None:
        """Begin to watch.

        Raises:
            TracingError: the kernel's tracing cannot be used.
        """
        place = tracefs.find(NEEDED)
        tracefs.remove_stale(place)
        with ExitStack() as stack:
            instance = stack.enter_context(tracefs.instance(place, "ioctls", BUFFER_KIB))
            # Our own clone files of the backing, for each copy one, and would wake us for each.
            instance.leave_out(map(int, os.listdir("/proc/self/task")))
            instance.enable("syscalls/sys_enter_ioctl", ENTERED)
            instance.enable("syscalls/sys_exit_ioctl", LEFT)
            self._pipe = instance.open()
            stack.callback(os.close, self._pipe)
            self._follow(stack)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Watch no longer; the trace buffer is gone afterwards."""
        self._stack.close()
        self._pipe = -1

    def drain(self) -> None:
        """Tell of everything that was refused so far."""
        with self._lock:
            while chunk := self._read():
                events, _ = parse(chunk.rstrip(b"\n").split(b"\n"))
                for event in events:
                    self._note(event)

    def _follow(self, stack: ExitStack) -> None:
        end_read, end_write = os.pipe()
        thread = threading.Thread(target=self._run, args=(end_read,), name="ioctls", daemon=True)
        thread.start()

        def end() -> None:
            os.close(end_write)
            thread.join()
            os.close(end_read)

        stack.callback(end)

    def _run(self, end: int) -> None:
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(end)
        ready: list[int] = []
        while end not in ready:
            ready = [descriptor for descriptor, _ in poll.poll()]
            try:
                self.drain()
            except Exception:
                log.exception("unexpected error while reading of refused ioctls")

    def _read(self) -> bytes:
        try:
            return os.read(self._pipe, PAGE)
        except BlockingIOError:
            return b""

    def _note(self, event: object) -> None:
        if isinstance(event, Enter):
            asked = ASKED.get(event.arguments["cmd"])
            if asked:
                self._open.pop(event.thread, None)
                self._open[event.thread] = event, asked
            if len(self._open) > OPEN:
                del self._open[next(iter(self._open))]
        elif isinstance(event, Exit) and (began := self._open.pop(event.thread, None)):
            enter, asked = began
            if -event.result in REFUSALS:
                source = enter.arguments["arg"] if asked == "FICLONE" else None
                self._tell(
                    Refused(
                        enter.thread,
                        asked,
                        enter.arguments["fd"],
                        source,
                        -event.result,
                        enter.time,
                        event.time,
                    )
                )
