"""scripts/scale at its smallest: every scenario runs, meets its goals, and leaves nothing mounted."""

import json
import subprocess
from pathlib import Path

import pytest

from fusecopy import mounts

SCALE = Path(__file__).parents[1] / "scripts" / "scale"
COUNTS = {
    "idle": {},
    "tree": {"files found by the walk": 10_000, "inodes known at the peak": 10_010},
    "sparse": {"btrfs: requests for it": 1, "xfs: requests for it": 1},
    "parallel": {"copies at once": 2},
    "log": {"records written": 100_000},
    "requests": {},
}
"""What each is known to have come to."""


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.loop
@pytest.mark.parametrize("scenario", COUNTS)
def test_a_hundredth_of_each_meets_its_goals(scenario: str, tmp_path: Path) -> None:
    before = mounts.mounts()
    command = [SCALE, "--quick", "--only", scenario, "--json", tmp_path / "found.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    rows = json.loads((tmp_path / "found.json").read_text())["scenarios"][scenario]
    found = {row["what"]: row["value"] for row in rows}
    assert all(found[what] == value for what, value in COUNTS[scenario].items()), found
    assert [row["what"] for row in rows if row["most"] is not None], "nothing is promised"
    assert mounts.mounts() == before
