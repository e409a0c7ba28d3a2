"""Which process a thread belongs to, and what program it runs, at every moment of a trace."""

import os
from dataclasses import dataclass
from pathlib import Path

from fusecopy.observe.events import Event, Exec, Task
from fusecopy.observe.status import status


@dataclass(frozen=True, slots=True)
class Process:
    """A process and the program it runs."""

    pid: int
    comm: str


class Family:
    """The processes of a traced command, or of a server, with all that they started."""

    def __init__(self, roots: dict[int, Process]) -> None:
        """`roots`: the first threads and their processes."""
        self._pids = {thread: process.pid for thread, process in roots.items()}
        self._programs = {process.pid: [(0, process.comm)] for process in roots.values()}

    def __contains__(self, thread: int) -> bool:
        return thread in self._pids

    @property
    def pids(self) -> set[int]:
        """The members' processes."""
        return set(self._pids.values())

    def add(self, event: Event) -> None:
        """Learn from an event; to be called in order of time."""
        if event.thread not in self._pids:
            return
        pid = self._pids[event.thread]
        if isinstance(event, Task):
            self._pids[event.child] = pid if event.is_thread else event.child
            self._programs.setdefault(self._pids[event.child], [self._programs[pid][-1]])
        elif isinstance(event, Exec):
            self._programs[pid].append((event.time, event.comm))

    def process(self, thread: int, time: int) -> Process:
        """What a member's thread was part of at a time."""
        pid = self._pids[thread]
        programs = self._programs[pid]
        comm = next((comm for since, comm in reversed(programs) if since <= time), programs[0][1])
        return Process(pid, comm)


def threads_of(pid: int) -> dict[int, Process]:
    """A running process's threads; none where it is gone."""
    try:
        comm = Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
        return {int(thread): Process(pid, comm) for thread in os.listdir(f"/proc/{pid}/task")}
    except OSError:
        return {}


def process_of(thread: int) -> int:
    """The process of a running thread; the thread's own number where it is gone."""
    try:
        return status(thread).process
    except OSError:
        return thread
