"""Backings and mount points of any name that mount(2) takes."""

import os
import subprocess
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.cli.mount import LONGEST_NAME, default_log
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Header, decode_path
from tests.cli.commands import Place, background, run

pytestmark = [pytest.mark.fuse, pytest.mark.root]

NAMES = {
    "umlaut": "Übung".encode(),
    "bytes": b"\xff\xfe",
    "control": b"a\nb\tc\x0b\xc2\x85 - \x1b]0;x\a",
    "option": b"co,mma,fsname=other\\040",
    "long": b"n" * 255,
    "deep": b"/".join([b"d" * 200] * 15),
}

LATIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [{}, LATIN], ids=["UTF-8", "C"])
@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_served(
    place: Place, name: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    there = Place(place.backing / os.fsdecode(NAMES[name]), place.point / os.fsdecode(NAMES[name]), place.log)
    for directory in (there.backing, there.point):
        directory.mkdir(parents=True)
    with background(there):
        mount = mounts.at(str(there.point))
        assert mount is not None
        assert mount.source == str(there.backing)
        (there.point / "a").write_bytes(bytes(70000))
        subprocess.run(["cp", there.point / "a", there.point / "b"], check=True, timeout=30)
        shown = run("log", there.point)
        assert shown.returncode == 0
        assert any(line.endswith(" b") for line in shown.stdout.splitlines())
        assert run("explain", there.point / "b").returncode == 0
    header, *records = current(there.log)
    assert isinstance(header, Header)
    assert decode_path(header.backing, header.backing_b64) == os.fsencode(there.backing)
    assert decode_path(header.mount, header.mount_b64) == os.fsencode(there.point)
    assert [record.dst for record in records if isinstance(record, Copy)] == ["b"]


def test_a_mount_point_longer_than_a_file_name_has_a_log_of_its_own() -> None:
    logs = [default_log(f"/{'d' * 200}/{'é' * 90}/{last}") for last in ("a", "b")]
    assert len(set(logs)) == 2
    assert all(len(os.fsencode(log.name)) <= LONGEST_NAME + len(".jsonl") for log in logs)
    assert default_log("/mnt/x") == Path("/var/log/fusecopy/mnt-x.jsonl")
