"""How fusecopy trace runs a command: its status, its signals, what is left behind, forms of output."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.loopfs import MIB
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.observe.tracing import SECONDS, fill, run, tracefs

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop, pytest.mark.usefixtures("tracefs")]

__all__ = ["tracefs"]

WAITING = ["sh", "-c", "echo ready; exec sleep 60"]


@pytest.fixture(scope="module")
def mount(btrfs: Path) -> Iterator[Mounted]:
    backing = btrfs / "trace-runs"
    backing.mkdir()
    fill(backing / "a", MIB)
    with mounted(backing) as made:
        yield made


def start(mount: Mounted, command: Sequence[str]) -> "subprocess.Popen[str]":
    """A trace in a session of its own whose command has said that it runs."""
    words = [FUSECOPY, "trace", str(mount.path), "--", *command]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def instances(tracefs: Path, process: "subprocess.Popen[str]") -> list[str]:
    return sorted(path.name for path in (tracefs / "instances").glob(f"fusecopy-{process.pid}-*"))


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "kill -USR1 $$"], 128 + signal.SIGUSR1),
        (["/etc/hostname"], 126),
        (["no-such-command-anywhere"], 127),
    ],
)
def test_the_status_is_the_commands(mount: Mounted, command: list[str], status: int) -> None:
    assert run("trace", command, points=[mount.path]).returncode == status


def test_the_commands_streams_are_its_own(mount: Mounted, tmp_path: Path) -> None:
    output = tmp_path / "story"
    words = [FUSECOPY, "trace", "-o", str(output), str(mount.path), "--", "sh", "-c", "cat; echo error >&2"]
    done = subprocess.run(words, input="in", capture_output=True, text=True, timeout=SECONDS)
    assert (done.stdout, done.stderr, output.read_text()) == ("in", "error\n", "")


def test_a_second_dash_dash_is_the_commands(mount: Mounted) -> None:
    assert run("trace", ["printf", "%s", "--", "a"], points=[mount.path]).stdout == "--a"


def test_without_a_command_nothing_is_done(mount: Mounted) -> None:
    done = subprocess.run([FUSECOPY, "trace", mount.path], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert "there is no command" in done.stderr


def test_what_is_no_fuse_mount_is_said(tmp_path: Path) -> None:
    done = run("trace", ["true"], points=[tmp_path])
    assert done.returncode == 2
    assert f"{tmp_path} is not a FUSE mount" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_go_on_to_the_command_and_nothing_stays(
    mount: Mounted, tracefs: Path, number: signal.Signals
) -> None:
    with start(mount, WAITING) as process:
        names = [f"fusecopy-{process.pid}-{purpose}" for purpose in ("calls", "requests")]
        assert instances(tracefs, process) == names
        os.kill(process.pid, number)
        assert process.wait(SECONDS) == 128 + number
        assert instances(tracefs, process) == []


def test_the_terminals_interrupt_ends_command_and_trace(mount: Mounted, tracefs: Path) -> None:
    """^C reaches the whole process group."""
    with start(mount, WAITING) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(SECONDS) == 128 + signal.SIGINT
        assert instances(tracefs, process) == []


def test_a_dead_tracers_instances_are_removed_by_the_next(mount: Mounted, tracefs: Path) -> None:
    with start(mount, WAITING) as process:
        left = instances(tracefs, process)
        assert len(left) == 2
        process.kill()
        process.wait(SECONDS)
        os.killpg(process.pid, signal.SIGKILL)  # the command, which has lost its tracer
    assert instances(tracefs, process) == left
    assert run("trace", ["true"], points=[mount.path]).returncode == 0
    assert instances(tracefs, process) == []


def test_a_log_that_cannot_be_read_is_our_failure(btrfs: Path) -> None:
    """The fixture sees that the instances are gone after it."""
    backing = btrfs / "trace-log"
    backing.mkdir()
    with mounted(backing) as mount:
        done = run("trace", ["sh", "-c", f"rm {mount.log}; mkdir {mount.log}"], points=[mount.path])
        mount.log.rmdir()
    assert done.returncode == 125
    assert f"{mount.log}: the dispatch log cannot be read" in done.stderr


def test_json_has_an_object_for_each_copy(mount: Mounted) -> None:
    command = f"cp {mount.path}/a {mount.path}/j1; cp --reflink=never {mount.path}/a {mount.path}/j2"
    done = run("trace", ["sh", "-c", command], points=[mount.path], options=["--json"])
    first, second, end = (json.loads(line) for line in done.stderr.splitlines())
    assert [(step["call"], step["errno"], step["copied"], step["dispatch"]) for step in first["steps"]] == [
        ("ioctl FICLONE", "EOPNOTSUPP", 0, "refused"),
        ("copy_file_range", None, MIB, "dispatched"),
        ("copy_file_range", None, 0, "unknown"),
    ]
    assert first["steps"][1]["requests"]["COPY_FILE_RANGE_64"] == 1
    assert (first["dst"], first["records"][0]["shared"]) == ("j1", MIB)
    assert [(step["call"], step["dispatch"], step["write_bytes"]) for step in second["steps"]] == [
        (None, "bypassed", MIB)
    ]
    assert end == {"type": "end", "status": 0, "passthrough": [], "lost_events": 0, "lost_records": 0}


def test_the_summary_counts_by_program(mount: Mounted) -> None:
    command = f"for i in 1 2 3 4 5 6 7; do cp {mount.path}/a {mount.path}/s$i; done"
    done = run("trace", ["sh", "-c", command], points=[mount.path], options=["-c"])
    rows = [line.split() for line in done.stderr.splitlines()]
    assert ["cp", "copy_file_range", "dispatched", "7", "7.0M"] in rows
    assert ["cp", "ioctl", "FICLONE", "refused", "7", "0"] in rows
    assert ["cp", "COPY_FILE_RANGE_64", "7", "0", "0"] in rows
    assert ["cp", "CREATE", "7", "0", "0"] in rows


def test_chrome_has_three_lanes_on_one_clock(mount: Mounted, tmp_path: Path) -> None:
    picture = tmp_path / "trace.json"
    options = ["--chrome", str(picture)]
    run("trace", ["cp", mount.path / "a", mount.path / "c"], points=[mount.path], options=options)
    found = json.loads(picture.read_text())["traceEvents"]
    lanes = {event["args"]["name"]: event["pid"] for event in found if event["name"] == "process_name"}
    assert list(lanes) == ["program", "kernel", "server"]
    call = next(e for e in found if e["name"] == "copy_file_range" and e["args"]["copied"])
    begun, ended = ([e for e in found if e["name"] == "COPY_FILE_RANGE_64" and e["ph"] == ph] for ph in "be")
    record = next(e for e in found if e["pid"] == lanes["server"] and e["ph"] == "b")
    assert len(begun) == len(ended) == 1
    assert call["ts"] <= begun[0]["ts"] <= record["ts"] + 1  # the kernel's print is in microseconds
    assert record["ts"] <= ended[0]["ts"] <= call["ts"] + call["dur"]


def test_without_tracefs_the_logs_are_shown(mount: Mounted, tracefs: Path) -> None:
    trace = f"{FUSECOPY} trace {mount.path} -- cp {mount.path}/a {mount.path}/l"
    command = f"while umount {tracefs} 2>/dev/null; do :; done; {trace}"
    words = ["unshare", "-m", "sh", "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0
    assert "tracefs is not mounted\n  mount -t tracefs none /sys/kernel/tracing\n" in done.stderr
    assert f"a -> l in {mount.path}\n    server: dispatched, reflink 1 MiB" in done.stderr


def test_an_audit_without_tracefs_is_our_failure(mount: Mounted, tracefs: Path) -> None:
    command = f"while umount {tracefs} 2>/dev/null; do :; done; {FUSECOPY} audit {mount.path} -- echo no"
    words = ["unshare", "-m", "sh", "-c", command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (125, "")


def test_a_container_is_told_to_trace_from_outside(mount: Mounted) -> None:
    words = ["unshare", "-p", "-f", "--mount-proc", FUSECOPY, "audit", str(mount.path), "--", "echo", "no"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (125, "")
    assert "in a pid namespace of its own" in done.stderr


def test_other_programs_copies_are_not_told(mount: Mounted) -> None:
    own = f"cp {mount.path}/a {mount.path}/own"
    with start(mount, ["sh", "-c", f"{own}; echo ready; exec sleep 60"]) as process:
        subprocess.run(["cp", mount.path / "a", mount.path / "other"], check=True, timeout=SECONDS)
        process.terminate()
        _, text = process.communicate(timeout=SECONDS)
    assert f"a -> own in {mount.path}\n" in text
    assert "other" not in text
