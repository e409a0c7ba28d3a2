"""Lines of a trace buffer and what they mean. The lines are the kernel's own, of Linux 6.18 and 6.12."""

import subprocess
import sys

from fusecopy.observe.calls import calls, requests
from fusecopy.observe.events import Ended, Enter, Event, Exec, Exit, Sent, Task, parse
from fusecopy.observe.family import Family, Process, process_of

HEAD = b"              cp-29492   [001]   3727.731595: "
TIME = 3727731595000


def one(text: bytes, head: bytes = HEAD) -> Event:
    events, strange = parse([head + text])
    assert strange == 0
    return events[0]


def test_a_call_begins() -> None:
    text = b"sys_copy_file_range(fd_in: 3, off_in: 0, fd_out: 0xa, off_out: 0, len: 0x7fffffffc0000000)"
    names = {"fd_in": 3, "off_in": 0, "fd_out": 10, "off_out": 0, "len": 0x7FFFFFFFC0000000}
    assert one(text) == Enter(TIME, 29492, "copy_file_range", names)


def test_before_6_18_numbers_are_hexadecimal_without_a_mark() -> None:
    expected = Enter(TIME, 29492, "ioctl", {"fd": 16, "cmd": 0x40049409, "arg": 3})
    assert one(b"sys_ioctl(fd: 10, cmd: 40049409, arg: 3)") == expected


def test_a_call_ends() -> None:
    assert one(b"sys_copy_file_range -> 0x800000") == Exit(TIME, 29492, "copy_file_range", 8388608)
    assert one(b"sys_ioctl -> 0xffffffffffffffa1") == Exit(TIME, 29492, "ioctl", -95)


def test_a_request_is_sent_and_ended() -> None:
    sent = one(b"fuse_request_send: connection 43 req 8 opcode 1 (FUSE_LOOKUP) len 42 ")
    assert sent == Sent(TIME, 29492, 43, 8, "LOOKUP", 42)
    ended = one(b"fuse_request_end: connection 43 req 8 len 16 error -2")
    assert ended == Ended(TIME, 29492, 43, 8, 16, 2)


def test_opcode_53_gets_its_name() -> None:
    sent = one(b"fuse_request_send: connection 43 req 20 opcode 53 (0x35) len 96 ")
    assert isinstance(sent, Sent)
    assert sent.opcode == "COPY_FILE_RANGE_64"


def test_tasks_and_programs() -> None:
    thread = b"task_newtask: pid=29537 comm=python3 clone_flags=3d0f00 oom_score_adj=0"
    assert one(thread) == Task(TIME, 29492, 29537, is_thread=True)
    fork = b"task_newtask: pid=29489 comm=bash clone_flags=1200000 oom_score_adj=0"
    assert one(fork) == Task(TIME, 29492, 29489, is_thread=False)
    program = b"sched_process_exec: filename=/usr/bin/a pid=1 b pid=29490 old_pid=29490"
    assert one(program) == Exec(TIME, 29492, "a pid=1 b")


def test_a_program_may_have_any_name() -> None:
    head = b"  x-1 [0] 1.0: y-29492   [001]   3727.731595: "
    assert len(head.split(b"-29492")[0]) == 16
    assert one(b"sys_splice -> 0x1", head) == Exit(TIME, 29492, "splice", 1)


def test_what_is_not_understood_is_counted_and_losses_are_not() -> None:
    lines = [b"CPU:1 [LOST 42 EVENTS]", b"half a li", HEAD + b"sys_splice -> 0x1"]
    events, strange = parse(lines)
    assert (len(events), strange) == (1, 1)


def test_events_of_several_cpus_are_put_in_order() -> None:
    later = HEAD.replace(b"731595", b"731596") + b"sys_splice -> 0x2"
    events, _ = parse([later, HEAD + b"sys_splice -> 0x1"])
    assert [event.time for event in events] == [TIME, TIME + 1000]


def test_calls_know_their_process_and_program() -> None:
    family = Family({1: Process(1, "sh")})
    enter = {"fd_in": 3, "fd_out": 4, "len": 5}
    events: list[Event] = [
        Task(10, 1, 2, is_thread=False),
        Exec(20, 2, "cp"),
        Task(30, 2, 3, is_thread=True),
        Enter(40, 3, "copy_file_range", enter),
        Enter(41, 99, "copy_file_range", enter),
        Exit(50, 3, "copy_file_range", 5),
        Exit(51, 99, "copy_file_range", 5),
        Exec(60, 2, "mv"),
    ]
    (call,) = calls(events, family)
    assert (call.process, call.thread, call.result) == (Process(2, "cp"), 3, 5)
    assert family.process(3, 70) == Process(2, "mv")


def test_an_ioctl_that_is_no_clone_is_no_call() -> None:
    """Its beginning is filtered out in the kernel; its end is not."""
    assert list(calls([Exit(5, 1, "ioctl", 0)], Family({1: Process(1, "sh")}))) == []


def test_requests_know_their_bytes_and_answers() -> None:
    events: list[Event] = [
        Sent(1, 7, 43, 2, "WRITE", 65616),
        Sent(2, 7, 43, 4, "READ", 80),
        Sent(3, 7, 43, 6, "COPY_FILE_RANGE_64", 96),
        Ended(4, 8, 43, 2, 24, 0),
        Ended(5, 8, 43, 4, 131088, 0),
        Ended(6, 8, 44, 6, 16, 95),
    ]
    write, read, copy = requests(events)
    assert (write.written, write.read, write.errno) == (65536, 0, 0)
    assert (read.written, read.read) == (0, 131072)
    assert copy.errno is None


def test_a_process_cannot_name_another_by_its_name() -> None:
    named = (
        "import sys; open('/proc/self/comm', 'w').write('a\\rTgid:\\t1'); print(flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", named], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout
        process.stdout.readline()
        assert process_of(process.pid) == process.pid
