"""Who a thread belongs to, as it is now, although it is remembered."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fusecopy.filesystem.identity import identify
from fusecopy.native import callers
from fusecopy.observe.caller import Caller

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
ARGS = " ".join(COMMAND)[: callers.ARGS_BYTES]
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


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Nobody is remembered before, and no descriptor of anybody is left behind."""
    callers.forget()
    before = os.listdir("/proc/self/fd")
    yield
    callers.forget()
    assert os.listdir("/proc/self/fd") == before


def test_a_caller_is_remembered(one: Child) -> None:
    caller = identify(one.pid, 7)
    comm, exe = Path(sys.executable).name, os.readlink(f"/proc/{one.pid}/exe")
    assert caller == Caller(one.pid, comm, 7, os.getpid(), os.getpgrp(), exe, ARGS)
    assert identify(one.pid, 7) is caller
    assert identify(one.pid, 8).uid == 8
    assert identify(one.pid).uid == os.geteuid()


def test_a_thread_is_of_its_process(one: Child) -> None:
    one.obey("stop = threading.Event(); thread = threading.Thread(target=stop.wait); thread.start()")
    (thread,) = {int(name) for name in os.listdir(f"/proc/{one.pid}/task")} - {one.pid}
    assert identify(thread, 0) == identify(one.pid, 0)
    one.obey("stop.set(); thread.join()")
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{one.pid}/task/{thread}") and time.monotonic() < deadline:
        pass  # it is joined a moment before it is gone
    assert identify(thread, 0) == Caller(thread, "?", 0)


def test_what_a_process_changes(one: Child) -> None:
    before = identify(one.pid, 0)
    one.obey("os.setpgid(0, 0)")
    assert identify(one.pid, 0) == replace(before, group=one.pid)
    one.obey("open('/proc/self/comm', 'w').write('another name')")
    assert identify(one.pid, 0) == replace(before, group=one.pid, comm="another name")


@pytest.mark.root
def test_the_user_of_a_process_as_it_is_now(one: Child) -> None:
    assert identify(one.pid).uid == 0
    one.obey(f"os.seteuid({NOBODY})")
    assert identify(one.pid).uid == NOBODY


def test_another_program_of_the_same_name_and_arguments(one: Child, tmp_path: Path) -> None:
    before = identify(one.pid, 0)
    other = tmp_path / os.fsdecode(b"\xff") / before.comm
    other.parent.mkdir()
    shutil.copy(before.exe, other)
    one.obey(f"os.execv({str(other)!r}, {COMMAND!r})")
    assert identify(one.pid, 0) == replace(before, exe=f"{tmp_path}/\ufffd/{before.comm}")


@pytest.mark.root
def test_another_process_of_the_same_number() -> None:
    first = Child()
    first.obey("open('/proc/self/comm', 'w').write('first')")
    before = identify(first.pid, 0)
    first.end()
    for _ in range(REUSES):
        LAST_PID.write_text(str(first.pid - 1))
        again = Child()
        found = identify(again.pid, 0)
        again.end()
        if again.pid == first.pid:
            break
    assert (before.pid, before.comm) == (first.pid, "first")
    assert (found.pid, found.comm) == (first.pid, Path(sys.executable).name)


def test_who_is_gone_or_was_never_there() -> None:
    gone = Child()
    identify(gone.pid, 0)
    gone.end()
    for thread in (gone.pid, 0):
        assert identify(thread) == Caller(thread, "?", -1)
        assert identify(thread, 5) == Caller(thread, "?", 5)


def test_only_so_many_are_remembered() -> None:
    before = len(os.listdir("/proc/self/fd"))
    children = [Child() for _ in range(callers.REMEMBERED + 2)]
    pipes = 2 * len(children)
    known = [identify(child.pid, 0) for child in children]
    full = before + pipes + 3 * callers.REMEMBERED
    assert len(os.listdir("/proc/self/fd")) == full
    assert identify(children[0].pid, 0) == known[0]
    assert identify(children[-1].pid, 0) == known[-1]
    assert len(os.listdir("/proc/self/fd")) == full
    for child in children:
        child.end()


def test_many_threads_ask_about_more_than_are_remembered() -> None:
    children = [Child() for _ in range(callers.REMEMBERED + 4)]
    pids = [child.pid for child in children]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pid: identify(pid, 0).pid, pids * 50))
    assert found == pids * 50
    for child in children:
        child.end()
