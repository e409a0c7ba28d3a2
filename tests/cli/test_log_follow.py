"""fusecopy log -F: what comes from now on, as it comes."""

import os
import pty
import signal
import time
from pathlib import Path

import msgspec
import pytest

from fusecopy.dispatch.records import Policy, timestamp
from fusecopy.dispatch.writer import Writer
from tests import samples
from tests.cli.logged import EVENTS, FALLBACK, FLOW, SUMS, command, copy, drained, read_until, seqs, write


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A log with one event of every kind."""
    return write(tmp_path / "log", EVENTS)


def test_follow_shows_what_comes_and_ends_on_interrupt(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(copy(1))
    assert writer.flush()
    with command("-F", "--all", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"TIME ")
        assert process.stdout.readline().startswith(b"06:47:01 ")
        writer.put(FALLBACK)
        assert process.stdout.readline().startswith(b"06:47:02 ")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == (b"", b"")
        assert process.returncode == 0
    writer.close()


def test_follow_begins_now(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(copy(1))
    writer.put(Policy(timestamp(), 0, "strict"))
    assert writer.flush()
    with command("-F", path) as process:
        _await_follower(process.pid, path)
        writer.put(copy(2, dst="new", time=timestamp()))
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == (b"", b"")
    writer.close()
    assert process.returncode == 0
    assert [line.split()[-1] for line in lines] == [b"FILE", b"new"]


def test_follow_begins_with_the_last_ones(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    for number in range(1, 4):
        writer.put(copy(number))
    assert writer.flush()
    with command("-F", "-N", "2", "--json", path) as process:
        assert process.stdout is not None
        assert seqs((process.stdout.readline() + process.stdout.readline()).decode()) == [2, 3]
        writer.put(copy(4))
        assert seqs(process.stdout.readline().decode()) == [4]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    writer.close()


def test_followed_flows_are_folded_once_no_more_come(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    now = time.monotonic_ns()
    for number in range(5):
        writer.put(msgspec.structs.replace(FLOW, seq=number + 1, mono_ns=now + number))
    assert writer.flush()
    with command("-F", "--all", "-q", path) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    assert lines[1].endswith(b" 5 flows\n")
    writer.close()


def test_interrupted_follow_prints_its_summary(stored: Path) -> None:
    with command("-F", "-c", stored) as process:
        _await_follower(process.pid, stored)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, b"")
    assert output.decode() == SUMS


def test_sums_on_a_terminal_are_shown_anew_as_copies_come(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(copy(1))
    assert writer.flush()
    ours, theirs = pty.openpty()
    with command("-F", "-c", path, stdout=theirs, lines=24) as process:
        os.close(theirs)
        read_until(ours, r"total +1 ")
        writer.put(FALLBACK)
        assert "fallback" in read_until(ours, r"total +2 ")
        process.send_signal(signal.SIGINT)
        assert "total" not in drained(ours)
        assert process.wait(timeout=10) == 0
    writer.close()


def _await_follower(pid: int, path: Path) -> None:
    """Wait until the process has read the log to its end, by its own descriptor's position."""
    deadline = os.times().elapsed + 10
    while os.times().elapsed < deadline:
        for name in Path(f"/proc/{pid}/fd").iterdir():
            try:
                same = os.path.samefile(name, path)
                position = Path(f"/proc/{pid}/fdinfo/{name.name}").read_text().split()[1]
            except FileNotFoundError:
                continue
            # The pass before, which looks for the newest mount, ends there too but does not wait.
            if same and int(position) == path.stat().st_size and _waits(pid):
                return
    pytest.fail("the log was never read to its end")


def _waits(pid: int) -> bool:
    return "futex" in Path(f"/proc/{pid}/wchan").read_text()
