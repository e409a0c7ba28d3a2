"""scripts/scale at its smallest: every scenario runs, meets its goals, and leaves nothing mounted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusecopy import mounts

SCRIPTS = Path(__file__).parents[1] / "scripts"

COUNTS = {
    "idle": {},
    "tree": {"files found by the walk": 10_000, "inodes known at the peak": 10_010},
    "sparse": {"btrfs: requests for it": 1, "xfs: requests for it": 1},
    "parallel": {"copies at once": 2},
    "log": {"records written": 100_000},
    "requests": {},
}
"""What each is known to have come to."""

SLOW = {"log", "requests"}


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.loop
@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in COUNTS]
)
def test_a_hundredth_of_each_meets_its_goals(scenario: str, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found_there = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "scaling", "--quick", "--only", scenario, "--json", found_there],
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = json.loads(found_there.read_text())["scenarios"][scenario]
    found = {row["what"]: row["value"] for row in rows}
    assert all(found[what] == value for what, value in COUNTS[scenario].items()), found
    assert [row["what"] for row in rows if row["most"] is not None], "nothing is promised"
    assert not [mount for mount in mounts.mounts() if mount.mountpoint.startswith(str(tmp_path))]
    assert os.listdir(scratch) == []
