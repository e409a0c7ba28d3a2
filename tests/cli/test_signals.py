"""What a server does at a signal: end, end although busy, open its log again, print totals."""

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Footer, Header
from tests.cli.commands import Place, background, running
from tests.mounted import mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root]


def await_file(path: Path) -> None:
    """Wait until a whole line is there."""
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_bytes().endswith(b"\n")):
        assert time.monotonic() < deadline, f"{path} did not come"
        select.select([], [], [], 0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_unmounts(tmp_path: Path, number: signal.Signals) -> None:
    with mounted(tmp_path) as mount:
        (mount.path / "a").write_text("content")
        mount.process.send_signal(number)
        assert mount.process.wait(30) == 0
        assert mounts.at(str(mount.path)) is None
        assert isinstance(list(current(mount.log))[-1], Footer)
    assert (tmp_path / "a").read_text() == "content"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_a_busy_mount(tmp_path: Path, number: signal.Signals) -> None:
    with mounted(tmp_path, expected="busy|second signal") as mount:
        descriptor = os.open(mount.path, os.O_RDONLY)
        mount.process.send_signal(number)
        mount.await_words("a second signal detaches it all the same")
        assert os.listdir(mount.path) == []
        mount.process.send_signal(number)
        assert mount.process.wait(30) == 0
        os.close(descriptor)
        assert mounts.at(str(mount.path)) is None
        assert isinstance(list(current(mount.log))[-1], Footer)


def test_hangup_opens_the_log_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content" * 1000)
    with mounted(tmp_path) as mount:
        subprocess.run(["cp", mount.path / "a", mount.path / "b"], check=True, timeout=30)
        assert [copy.dst for copy in mount.copies(1)] == ["b"]
        moved = mount.log.with_name("moved.jsonl")
        mount.log.rename(moved)
        mount.process.send_signal(signal.SIGHUP)
        await_file(mount.log)
        again = list(current(mount.log))
        subprocess.run(["cp", mount.path / "a", mount.path / "c"], check=True, timeout=30)
        assert [copy.dst for copy in mount.copies(1)] == ["c"]
        old = list(current(moved))
        assert again == [old[0]]
        assert isinstance(old[0], Header)
        assert [record.dst for record in old if isinstance(record, Copy)] == ["b"]


def test_user_signal_prints_totals(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content" * 1000)
    with mounted(tmp_path, expected="copies") as mount:
        subprocess.run(["cp", mount.path / "a", mount.path / "b"], check=True, timeout=30)
        mount.copies(1)
        mount.process.send_signal(signal.SIGUSR1)
        mount.await_words('"lost": 0')
        said = mount.log.with_name("stderr").read_text()
    totals = json.loads(said[said.index("{") :])
    assert totals["copies"] == {"dispatched": 1}
    assert totals["bytes"] == {"dispatched": 7000}


def test_totals_of_a_mount_in_the_background_go_to_its_diagnostics(place: Place) -> None:
    diagnostics = place.log.with_suffix(".diagnostics")
    with background(place) as pid:
        os.kill(pid, signal.SIGUSR1)
    assert not running(pid)
    said = diagnostics.read_text()
    assert json.loads(said[said.index("{") :])["lost"] == 0


def test_what_somebody_else_has_mounted_on_it_is_not_unmounted(tmp_path: Path) -> None:
    with mounted(tmp_path, expected="another mount lies on it") as mount:
        subprocess.run(["mount", "-t", "tmpfs", "precious", mount.path], check=True, timeout=30)
        (mount.path / "only copy").write_text("content")
        mount.process.send_signal(signal.SIGTERM)
        mount.await_words("a second signal ends the server all the same")
        assert (mount.path / "only copy").read_text() == "content"
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(30) == 0
        assert (mount.path / "only copy").read_text() == "content"
        assert isinstance(list(current(mount.log))[-1], Footer)
        subprocess.run(["umount", mount.path], check=True, timeout=30)
