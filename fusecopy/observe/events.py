"""Events of the kernel, read from the lines of a trace buffer. Times are CLOCK_MONOTONIC, cut to whole
microseconds by the kernel's own print, here in nanoseconds."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

LINE = re.compile(rb".{16}-(\d+) +\[\d+\] +(\d+)\.(\d{6}): (.*)", re.DOTALL)
"""The command's name is set right in 16 columns and may hold any byte, so it is passed over by its width."""

ENTER = re.compile(rb"sys_(\w+)\((.*)\)")
EXIT = re.compile(rb"sys_(\w+) -> 0x([0-9a-f]+)")
ARGUMENT = re.compile(rb"(\w+): (?:0x)?([0-9a-f]+)")
SENT = re.compile(rb"fuse_request_send: connection (\d+) req (\d+) opcode (\d+) \((\w+)\) len (\d+) ?")
ENDED = re.compile(rb"fuse_request_end: connection (\d+) req (\d+) len (\d+) error (-?\d+)")
TASK = re.compile(
    rb"task_newtask: pid=(\d+) comm=(.*) clone_flags=([0-9a-f]+) oom_score_adj=-?\d+", re.DOTALL
)
EXEC = re.compile(rb"sched_process_exec: filename=(.*) pid=\d+ old_pid=\d+", re.DOTALL)
LOST = re.compile(rb"CPU:\d+ \[LOST \d+ EVENTS\]")

COPY = "COPY_FILE_RANGE"
COPY_64 = "COPY_FILE_RANGE_64"

UNNAMED = {53: COPY_64}
"""Missing in the kernel's table of names (include/trace/events/fuse.h, Linux 6.18 to 7.2)."""

CLONE_THREAD = 0x10000
COMM_BYTES = 15


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in the context of a thread."""

    time: int
    thread: int


@dataclass(frozen=True, slots=True)
class Enter(Event):
    """A system call begins."""

    name: str
    arguments: dict[str, int]


@dataclass(frozen=True, slots=True)
class Exit(Event):
    """A system call ends; a negative result is an errno."""

    name: str
    result: int


@dataclass(frozen=True, slots=True)
class Sent(Event):
    """The kernel hands a request to the server's queue; mostly in the context of the caller's thread."""

    connection: int
    unique: int
    opcode: str
    length: int


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """A request is answered or aborted; answered in the context of the server's thread."""

    connection: int
    unique: int
    length: int
    errno: int


@dataclass(frozen=True, slots=True)
class Task(Event):
    """A thread or process is started."""

    child: int
    is_thread: bool


@dataclass(frozen=True, slots=True)
class Exec(Event):
    """A process becomes another program."""

    comm: str


def parse(lines: Iterable[bytes]) -> tuple[list[Event], int]:
    """The events in order of time, and the number of lines that could not be understood."""
    events: list[Event] = []
    strange = 0
    for line in lines:
        event = _event(line)
        if event:
            events.append(event)
        elif not LOST.fullmatch(line):
            strange += 1
    events.sort(key=lambda event: event.time)
    return events, strange


def _event(line: bytes) -> Event | None:
    found = LINE.fullmatch(line)
    if not found:
        return None
    thread, seconds, micros, text = found.groups()
    time = (int(seconds) * 1_000_000 + int(micros)) * 1000
    if text.startswith(b"fuse_"):
        return _request_event(time, int(thread), text)
    if text.startswith(b"sys_"):
        return _call_event(time, int(thread), text)
    return _task_event(time, int(thread), text)


def _request_event(time: int, thread: int, text: bytes) -> Event | None:
    if sent := SENT.fullmatch(text):
        connection, unique, number, name, length = sent.groups()
        opcode = UNNAMED.get(int(number), name.decode().removeprefix("FUSE_"))
        return Sent(time, thread, int(connection), int(unique), opcode, int(length))
    if ended := ENDED.fullmatch(text):
        connection, unique, length, error = ended.groups()
        return Ended(time, thread, int(connection), int(unique), int(length), -int(error))
    return None


def _call_event(time: int, thread: int, text: bytes) -> Event | None:
    if left := EXIT.fullmatch(text):
        result = int(left[2], 16)
        return Exit(time, thread, left[1].decode(), result - (1 << 64) if result >> 63 else result)
    if entered := ENTER.fullmatch(text):
        # Linux before 6.18 writes hexadecimal without 0x; later ones write so what is below ten.
        arguments = {name.decode(): int(value, 16) for name, value in ARGUMENT.findall(entered[2])}
        return Enter(time, thread, entered[1].decode(), arguments)
    return None


def _task_event(time: int, thread: int, text: bytes) -> Event | None:
    if task := TASK.fullmatch(text):
        return Task(time, thread, int(task[1]), bool(int(task[3], 16) & CLONE_THREAD))
    if program := EXEC.fullmatch(text):
        comm = program[1].rpartition(b"/")[2][:COMM_BYTES]
        return Exec(time, thread, comm.decode(errors="replace"))
    return None
