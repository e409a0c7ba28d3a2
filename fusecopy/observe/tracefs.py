"""Trace buffers of our own in tracefs (Documentation/trace/ftrace.rst, "Instances")."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fusecopy.errors import FusecopyError

PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))

OURS = re.compile(r"fusecopy-(\d+)-[a-z]+")
"""Name of an instance: whose it is, and what for."""

LOST = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d+)$", re.MULTILINE)

INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""PROC_PID_INIT_INO of linux/proc_ns.h, the inode of /proc/self/ns/pid; events have the numbers of there."""

NEEDED = ("fuse/fuse_request_send", "fuse/fuse_request_end", "syscalls/sys_enter_copy_file_range")


class TracingError(FusecopyError):
    """The kernel's tracing cannot be used."""


class Instance:
    """One trace buffer, of which only this process knows.

    Attributes:
        path: its directory in tracefs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def enable(self, event: str, condition: str = "") -> None:
        """Switch an event on, for records that meet a condition (Documentation/trace/events.rst, 5)."""
        if condition:
            self._write(f"events/{event}/filter", condition)
        self._write(f"events/{event}/enable", "1")

    def follow(self, threads: Iterable[int]) -> None:
        """Keep to events in the context of these threads and of all that they start from now on."""
        self._write("options/event-fork", "1")
        self._write("set_event_pid", " ".join(map(str, threads)))

    def leave_out(self, threads: Iterable[int]) -> None:
        """Keep out events in the context of these threads and of all that they start from now on (Linux 5.7);
        older kernels have them in."""
        self._write("options/event-fork", "1")
        with suppress(TracingError):
            self._write("set_event_notrace_pid", " ".join(map(str, threads)))

    def open(self) -> int:
        """A descriptor that gives, and takes out of the buffer, the events as lines; it does not block."""
        return os.open(self.path / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def lost(self) -> int:
        """Events that were overwritten before they were read, or not recorded."""
        texts = (statistics.read_text() for statistics in self.path.glob("per_cpu/cpu*/stats"))
        return sum(int(count) for text in texts for count in LOST.findall(text))

    def configure(self, buffer_kib: int) -> None:
        """Set the size for each CPU, the clock of the dispatch log, and lines that are easy to read."""
        self._write("buffer_size_kb", str(buffer_kib))
        self._write("trace_clock", "mono")
        self._write("buffer_percent", "0")  # wake the reader for any event, not for a buffer half full
        self._write("options/irq-info", "0")

    def _write(self, name: str, text: str) -> None:
        try:
            (self.path / name).write_text(text)
        except OSError as error:
            raise TracingError(f"{self.path / name}: {error.strerror}") from error


def find(needed: Sequence[str] = NEEDED) -> Path:
    """Where tracefs is.

    Args:
        needed: the events that are to be used.

    Raises:
        TracingError: this user may not trace, or not from this container, tracefs is not mounted, or the
            kernel lacks the events.
    """
    if os.geteuid() != 0:
        raise TracingError("the kernel's tracing is for root alone", "run it as root")
    if os.stat("/proc/self/ns/pid").st_ino != INITIAL_PID_NAMESPACE:
        raise TracingError(
            "in a pid namespace of its own a process does not know its number in the kernel's events",
            "run it outside of the container",
        )
    mounted = [place for place in PLACES if (place / "instances").is_dir()]
    if not mounted:
        raise TracingError("tracefs is not mounted", f"mount -t tracefs none {PLACES[0]}")
    missing = [event for event in needed if not (mounted[0] / "events" / event).is_dir()]
    if missing:
        raise TracingError(
            f"this kernel has no event {missing[0]}",
            "Linux 6.12 or later is needed, with CONFIG_FUSE_FS loaded and CONFIG_FTRACE_SYSCALLS",
        )
    return mounted[0]


@contextmanager
def instance(tracefs: Path, purpose: str, buffer_kib: int) -> Iterator[Instance]:
    """A trace buffer that is gone when the block ends.

    Args:
        purpose: one word for its name, which is fusecopy-PID-PURPOSE.
        buffer_kib: its size for each CPU, in KiB.

    Raises:
        TracingError: it cannot be made.
    """
    path = tracefs / "instances" / f"fusecopy-{os.getpid()}-{purpose}"
    try:
        path.mkdir()
    except OSError as error:
        raise TracingError(f"{path}: cannot be made: {error.strerror}") from error
    try:
        made = Instance(path)
        made.configure(buffer_kib)
        yield made
    finally:
        path.rmdir()


def remove_stale(tracefs: Path) -> None:
    """Remove the instances of processes that are gone; one that is in use cannot be removed and stays."""
    for path in (tracefs / "instances").iterdir():
        found = OURS.fullmatch(path.name)
        if found and not Path("/proc", found[1]).exists():
            with suppress(OSError):
                path.rmdir()
