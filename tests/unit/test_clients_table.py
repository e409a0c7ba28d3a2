"""docs/clients.md is what the surveys say that it is made of, and in none of them calls and log differ."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from fusecopy.survey.records import Survey

TOP = Path(__file__).resolve().parents[2]


def test_the_table_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clienttable", "--check"],
        env={**os.environ, "PYTHONPATH": str(TOP / "scripts")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["btrfs", "ext4"])
def test_calls_and_log_agreed(kind: str) -> None:
    found = msgspec.json.decode((TOP / "docs" / "clients" / f"{kind}.json").read_bytes(), type=Survey)
    assert found.filesystem == kind
    assert len([row for row in found.rows if row.state == "agree"]) > 100
    assert {row.state for row in found.rows} <= {"agree", "missing"}
