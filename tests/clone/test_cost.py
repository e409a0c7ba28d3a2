"""What it costs: a clone in a mount, and everything else."""

import sys
from pathlib import Path

import pytest

from tests.clone.running import plain, program, said, served
from tests.conftest import require
from tests.loopfs import MIB
from tests.mounted import mounted
from tests.reflink.files import noise

ROUNDS = "40"
MOST_NS = 500
"""Of the filter on a call that it lets through; it took 40 on a loaded machine."""

CALLS = """
import os, time
def once():
    begun = time.perf_counter_ns()
    for _ in range(20000): os.getppid()
    return time.perf_counter_ns() - begun
print(min(once() for _ in range(20)) / 20000)
"""


def test_clone_costs_at_most_three_times_the_parts(
    sharing_backing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The parts: the native call and one copy_file_range in the mount, measured side by side."""
    require("fuse", "seccomp")
    native, behind = sharing_backing / "native", sharing_backing / "served"
    for directory in (native, behind):
        directory.mkdir()
        (directory / "a").write_bytes(noise(MIB))
    with mounted(behind) as mount:
        served_us, copied_us = map(float, said(served(*program("timing.py", ROUNDS), cwd=mount.path)).split())
        native_us, _ = map(float, said(plain(*program("timing.py", ROUNDS), cwd=native)).split())
    with capsys.disabled():
        print(f"\n  1 MiB: native {native_us} µs, served {served_us} µs, copy_file_range {copied_us} µs")
    assert served_us <= 3 * (native_us + copied_us)


def test_other_calls_go_on_at_full_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("seccomp")
    bare = float(said(plain(sys.executable, "-c", CALLS, cwd=tmp_path)))
    filtered = float(said(served(sys.executable, "-c", CALLS, cwd=tmp_path)))
    with capsys.disabled():
        print(f"\n  getppid: {bare} ns, under fusecopy run {filtered} ns")
    assert filtered - bare <= MOST_NS
