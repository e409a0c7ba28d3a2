"""fusecopy survey: programs are run on a scratch mount, and what is told of them is what happened."""

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from fusecopy.survey.records import Survey
from fusecopy.survey.running import traced
from tests.mounted import FUSECOPY

SECONDS = 120


def survey(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([FUSECOPY, "survey", *arguments], capture_output=True, text=True, timeout=SECONDS)


def test_every_use_of_cp_agrees(tmp_path: Path) -> None:
    done = survey("--only", "cp -", "--json", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode(done.stdout, type=Survey)
    rows = {row.program: row for row in found.rows}
    moved = rows["cp --reflink=never"]
    assert moved.state == "agree"
    assert [(one.dispatch, one.driver) for one in moved.logged] == [("bypassed", "write")]
    if moved.calls.tracer == "strace":
        assert moved.calls.moved == {"write": sum(one.bytes for one in moved.logged)}
    assert {row.state for row in found.rows} <= {"agree", "missing"}
    assert rows["cp -l"].logged == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_and_no_program_of_that_name_is_an_error(tmp_path: Path) -> None:
    assert survey("--only", "no such program").returncode == 2
    nowhere = {"PATH": str(tmp_path)}
    done = subprocess.run(
        [FUSECOPY, "survey", "--only", "python3.7", str(tmp_path)],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert "python3.7 is not installed" in done.stdout


def test_without_strace_our_own_tracer_sees_the_copies(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "cp", "cat"):
        (programs / name).symlink_to(shutil.which(name) or pytest.fail(name))
    (programs / "fusecopy").symlink_to(FUSECOPY)
    where = tmp_path / "where"
    where.mkdir()
    (tmp_path / "source").write_bytes(os.urandom(70000))
    ran = traced("cp ../source copy && cat <../source >other", where, {"PATH": str(programs)})
    assert ran.error == ""
    assert ran.calls.tracer == "fusecopy expect"
    assert sum(ran.calls.moved.values()) == 140000
