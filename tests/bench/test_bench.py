"""The benchmark itself: it measures, tells wrong from right, frees who hangs and leaves nothing behind."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benching.measuring import Bench
from benching.peers import Kind, Peer
from benching.records import Measurement, Outcome, Program, Run, Told
from benching.serving import fusectl
from benching.settings import QUICK
from benching.summary import tables
from benching.tools import Tool
from benching.workloads import Job, Same, Workload
from tests.conftest import require
from tests.tracepoints import tracefs_mounted

ROOT = Path(__file__).parents[2]
NATIVE = Peer("native", "", Kind.NATIVE)
HERE = Tool("", "")


def command(tmp_path: Path, *arguments: str) -> "subprocess.Popen[str]":
    """scripts/bench, with everything that it mounts below `tmp_path`."""
    return subprocess.Popen(
        [
            str(ROOT / "scripts" / "bench"),
            "--quick",
            "--rounds",
            "1",
            "--out",
            str(tmp_path / "out"),
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )


def left_behind(tmp_path: Path) -> list[str]:
    """What is still mounted or there of a run."""
    mounted = [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(tmp_path) in line
    ]
    return mounted + [path.name for path in tmp_path.glob("fusecopy-bench-*")]


@pytest.fixture
def traced() -> Iterator[None]:
    """Requests can be counted."""
    with tracefs_mounted():
        require("tracefs")
        yield


@pytest.mark.root
@pytest.mark.loop
@pytest.mark.fuse
def test_a_run_measures_and_counts(tmp_path: Path, traced: None) -> None:
    process = command(tmp_path, "--only", "cp-few", "call-64k", "--peer", "fusecopy", "passthrough_ll")
    printed, said = process.communicate(timeout=150)
    assert process.returncode == 0, said
    assert not left_behind(tmp_path)
    found = json.loads((tmp_path / "out" / "bench.json").read_bytes())
    outcomes = {(one["peer"], one["outcome"]) for one in found["run"]["measurements"]}
    assert outcomes == {(peer, "ok") for peer in ("native", "fusecopy", "passthrough_ll")}
    rows = {(table["workload"], row["peer"]): row for table in found["tables"] for row in table["rows"]}
    ours, theirs = rows["cp-few", "fusecopy"], rows["cp-few", "passthrough_ll"]
    assert ours["requests"]["CREATE"] == theirs["requests"]["CREATE"] == 500
    assert ours["wall_us"] > 0
    assert ours["server_cpu_us"] > 0
    assert ours["server_kib"] > 0
    assert ours["to_native"]["median"] == pytest.approx(ours["wall_us"] / rows["cp-few", "native"]["wall_us"])
    assert _copies(rows["call-64k", "fusecopy"]) == _copies(rows["call-64k", "passthrough_ll"]) == QUICK.calls
    assert "requests per file" in printed


def _copies(row: Any) -> int:
    """Copies that were offloaded, by either opcode; libfuse answers the first of the other with ENOSYS."""
    requests: dict[str, int] = row["requests"]
    return max(requests.get(name, 0) for name in ("COPY_FILE_RANGE", "COPY_FILE_RANGE_64"))


@pytest.mark.root
@pytest.mark.loop
@pytest.mark.fuse
def test_interrupted_it_unmounts_everything_and_tells_what_it_has(tmp_path: Path) -> None:
    process = command(tmp_path, "--only", "cp-one", "rm", "--peer", "fusecopy")
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if "rm round 0" in line:
            process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert not left_behind(tmp_path)
    assert "cp of one small file" in printed


@pytest.fixture
def bench(btrfs: Path, tmp_path: Path) -> Iterator[Bench]:
    """A backing with two files that differ, and two seconds for each job."""
    backing = btrfs / "served"
    backing.mkdir(exist_ok=True)
    for name in "ab":
        (backing / name).write_bytes(name.encode() * 4096)
    with fusectl():
        yield Bench("btrfs", backing, tmp_path, 2.0, None)


def copy_of_a(*same: Same) -> Workload:
    """A workload that copies `a`."""
    return Workload("copy", "copy", Job("programs", {"commands": [["cp", "a", "out/a"]]}), same=same)


@pytest.mark.root
@pytest.mark.loop
def test_a_result_is_compared_with_its_source(bench: Bench) -> None:
    right = bench.measure(NATIVE, HERE, copy_of_a(Same("a", "out/a")), 1)
    wrong = bench.measure(NATIVE, HERE, copy_of_a(Same("b", "out/a")), 1)
    short = bench.measure(NATIVE, HERE, copy_of_a(Same("a", "out/a", 4095)), 1)
    missing = bench.measure(NATIVE, HERE, copy_of_a(Same("a", "out/b")), 1)
    assert (right.outcome, right.problem) == (Outcome.OK, "")
    assert (wrong.outcome, short.outcome, missing.outcome) == (Outcome.WRONG,) * 3
    assert "differ" in wrong.problem
    assert "4096 bytes instead of 4095" in short.problem


@pytest.mark.root
@pytest.mark.loop
def test_a_job_that_fails_or_counts_otherwise_is_told(bench: Bench) -> None:
    absent = Workload("read", "read", Job("read", {"path": "c", "warm": False}))
    counted = Workload("read", "read", Job("read", {"path": "a", "warm": False}), count=8192)
    failed, wrong = (bench.measure(NATIVE, HERE, workload, 1) for workload in (absent, counted))
    assert (failed.outcome, wrong.outcome) == (Outcome.FAILED, Outcome.WRONG)
    assert "No such file" in failed.problem
    assert wrong.problem == "4096 instead of 8192"


@pytest.mark.root
@pytest.mark.loop
@pytest.mark.fuse
def test_a_peer_that_hangs_is_aborted(bench: Bench, tmp_path: Path) -> None:
    program = ("{python}", "-m", "tests.bench.stopping", "{point}")
    peer = Peer("stopping", "", Kind.PEER, program)
    reading = Workload("read", "read", Job("read", {"path": "a", "warm": False}))
    found = bench.measure(peer, HERE, reading, 1)
    assert (found.outcome, found.problem) == (Outcome.HUNG, "did not end within 2 s")
    assert not left_behind(tmp_path)


KINDS = {"native": "native", "fusecopy": "ours", "slow": "peer", "fast": "peer"}


def test_who_was_wrong_once_has_no_figures() -> None:
    def one(peer: str, number: int, wall: float, outcome: Outcome = Outcome.OK) -> Measurement:
        return Measurement(
            filesystem="btrfs", workload="cp", peer=peer, round=number, outcome=outcome, wall_us=wall
        )

    run = Run(
        machine={},
        rounds=2,
        programs=[Program(name, kind, "") for name, kind in KINDS.items()],
        workloads=[Told("cp", "cp", 1)],
        measurements=[
            *(one("native", number, wall) for number, wall in ((1, 1.0), (2, 2.0))),
            *(one("fusecopy", number, wall) for number, wall in ((1, 3.0), (2, 4.0))),
            *(one("slow", number, wall) for number, wall in ((1, 6.0), (2, 6.0))),
            one("fast", 1, 0.5),
            one("fast", 2, 0.5, Outcome.WRONG),
        ],
    )
    (table,) = tables(run)
    rows = {row.peer: row for row in table.rows}
    assert table.best == "slow"
    assert rows["fast"].problem.startswith("wrong")
    assert rows["fast"].to_native is None
    ours = rows["fusecopy"]
    assert ours.to_native is not None
    assert ours.to_best is not None
    assert (ours.to_native.least, ours.to_native.median, ours.to_native.most) == (2.0, 2.5, 3.0)
    assert (ours.to_best.least, ours.to_best.most) == (3 / 6, 4 / 6)
