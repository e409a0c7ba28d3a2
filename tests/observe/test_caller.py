"""Who a thread belongs to, as it is now, although it is remembered."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fusecopy.observe.caller import ARGS_BYTES, Caller, Callers

NOBODY = 65534

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
"""The number that the next process of this pid namespace comes after."""

OBEY = """
import os, sys, threading
print("done", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""
"""A program that executes each line it is sent, and says when it has begun and when it has done so."""

COMMAND = [sys.executable, "-c", OBEY]
ARGS = " ".join(COMMAND)[:ARGS_BYTES]
REUSES = 200


class Child:
    """A process that does as it is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONHOME": sys.base_prefix},
        )
        self.pid = self._process.pid
        self._answer()

    def obey(self, line: str) -> None:
        """Have it execute a line, to its end."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
        self._answer()

    def end(self) -> None:
        """Have it end, and take its exit status."""
        self._process.communicate(timeout=30)

    def _answer(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"done\n"


@pytest.fixture
def one() -> Iterator[Child]:
    """A child that is gone afterwards."""
    started = Child()
    yield started
    started.end()


@pytest.fixture
def callers() -> Iterator[Callers]:
    """Callers that are forgotten, and leave no descriptor behind."""
    before = os.listdir("/proc/self/fd")
    made = Callers(limit=3)
    yield made
    made.close()
    assert os.listdir("/proc/self/fd") == before


def test_a_caller_is_remembered(one: Child, callers: Callers) -> None:
    caller = callers.identify(one.pid, 7)
    comm, exe = Path(sys.executable).name, os.readlink(f"/proc/{one.pid}/exe")
    assert caller == Caller(one.pid, comm, 7, os.getpid(), os.getpgrp(), exe, ARGS)
    assert callers.identify(one.pid, 7) is caller
    assert callers.identify(one.pid, 8).uid == 8
    assert callers.identify(one.pid).uid == os.geteuid()


def test_a_thread_is_of_its_process(one: Child, callers: Callers) -> None:
    one.obey("stop = threading.Event(); thread = threading.Thread(target=stop.wait); thread.start()")
    (thread,) = {int(name) for name in os.listdir(f"/proc/{one.pid}/task")} - {one.pid}
    assert callers.identify(thread, 0) == callers.identify(one.pid, 0)
    one.obey("stop.set(); thread.join()")
    assert callers.identify(thread, 0) == Caller(thread, "?", 0)


def test_what_a_process_changes(one: Child, callers: Callers) -> None:
    before = callers.identify(one.pid, 0)
    one.obey("os.setpgid(0, 0)")
    assert callers.identify(one.pid, 0) == replace(before, group=one.pid)
    one.obey("open('/proc/self/comm', 'w').write('another name')")
    assert callers.identify(one.pid, 0) == replace(before, group=one.pid, comm="another name")


@pytest.mark.root
def test_the_user_of_a_process_as_it_is_now(one: Child, callers: Callers) -> None:
    assert callers.identify(one.pid).uid == 0
    one.obey(f"os.seteuid({NOBODY})")
    assert callers.identify(one.pid).uid == NOBODY


def test_another_program_of_the_same_name_and_arguments(one: Child, callers: Callers, tmp_path: Path) -> None:
    before = callers.identify(one.pid, 0)
    other = tmp_path / os.fsdecode(b"\xff") / before.comm
    other.parent.mkdir()
    shutil.copy(before.exe, other)
    one.obey(f"os.execv({str(other)!r}, {COMMAND!r})")
    assert callers.identify(one.pid, 0) == replace(before, exe=f"{tmp_path}/\ufffd/{before.comm}")


@pytest.mark.root
def test_another_process_of_the_same_number(callers: Callers) -> None:
    first = Child()
    first.obey("open('/proc/self/comm', 'w').write('first')")
    before = callers.identify(first.pid, 0)
    first.end()
    for _ in range(REUSES):
        LAST_PID.write_text(str(first.pid - 1))
        again = Child()
        found = callers.identify(again.pid, 0)
        again.end()
        if again.pid == first.pid:
            break
    assert (before.pid, before.comm) == (first.pid, "first")
    assert (found.pid, found.comm) == (first.pid, Path(sys.executable).name)


def test_who_is_gone_or_was_never_there(callers: Callers) -> None:
    gone = Child()
    callers.identify(gone.pid, 0)
    gone.end()
    for thread in (gone.pid, 0):
        assert callers.identify(thread) == Caller(thread, "?", -1)
        assert callers.identify(thread, 5) == Caller(thread, "?", 5)


def test_only_so_many_are_remembered(callers: Callers) -> None:
    before = len(os.listdir("/proc/self/fd"))
    children = [Child() for _ in range(5)]
    pipes = 2 * len(children)
    known = [callers.identify(child.pid, 0) for child in children]
    assert len(os.listdir("/proc/self/fd")) == before + pipes + 3 * 3
    assert callers.identify(children[-3].pid, 0) is known[-3]
    assert callers.identify(children[0].pid, 0) == known[0]
    assert callers.identify(children[-3].pid, 0) is known[-3]
    assert len(os.listdir("/proc/self/fd")) == before + pipes + 3 * 3
    for child in children:
        child.end()
