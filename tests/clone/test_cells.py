"""The table: each of the four ioctls in the mount gives what the same call gives natively on the backing."""

import json
from pathlib import Path

import pytest

from tests.clone.running import plain, program, said, served
from tests.conftest import require
from tests.mounted import mounted

LEAST = 120
"""Cells the table has at least."""


def test_each_cell_is_as_on_the_backing(
    backing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require("fuse", "seccomp")
    (tmp_path / "file").write_bytes(b"elsewhere")
    native, behind = backing / "native", backing / "served"
    native.mkdir()
    behind.mkdir()
    cells = program("cells.py", tmp_path)
    expected = json.loads(said(plain(*cells, cwd=native)))
    with mounted(behind) as mount:
        found = json.loads(said(served(*cells, cwd=mount.path)))
    with capsys.disabled():
        print(f"\n{backing}")
        for name, result in expected.items():
            verdict = "" if found[name] == result else f"   BUT IN THE MOUNT {found[name]}"
            print(f"  {name:45} {result[0]:10}{verdict}")
    assert len(expected) >= LEAST
    assert found == expected
