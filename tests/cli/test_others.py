"""Mounts of other users, and of servers that do not answer or are gone; the records that tell of both."""

import json
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from fusecopy import mounts, running
from fusecopy.errors import Exit
from tests.cli.commands import NOBODY, Place, background, run

pytestmark = [pytest.mark.fuse, pytest.mark.root]

STRANGER = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--")


def listed(place: Place, prefix: tuple[str, ...] = ()) -> str:
    """What `list` says of the server of a mount."""
    lines = run("list", prefix=prefix).stdout.splitlines()
    return next(line.split()[0] for line in lines if line.endswith(f" {place.point}"))


def there(place: Place) -> mounts.Mount:
    mount = mounts.at(str(place.point))
    assert mount is not None
    return mount


@contextmanager
def stopped(pid: int, place: Place) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        os.statvfs(place.point)  # those who were left asking have their answers before this one


def test_the_record_of_a_mount(place: Place) -> None:
    with background(place) as pid:
        mount = there(place)
        told = running.of(mount)
        assert told is not None
        assert (told.pid, told.lives(), told.exclusive) == (pid, True, False)
        assert [os.fsdecode(name) for name in (told.backing, told.mountpoint, told.log)] == [
            str(path) for path in (place.backing, place.point, place.log)
        ]
        files = list(running.ROOTS.glob(f"{mount.connection}.json"))
        assert [stat.S_IMODE(path.stat().st_mode) for path in (*files, running.ROOTS)] == [0o644, 0o755]
    assert not files[0].exists()


@pytest.mark.parametrize("spoilt", ["link", "owner", "writable", "boot", "backing", "garbage"])
def test_a_record_is_believed_only_where_nobody_else_can_have_written_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    monkeypatch.setattr(running, "ROOTS", tmp_path / "run")
    mount = mounts.Mount("/mnt", mounts.FSTYPE, "/data", os.makedev(0, 77))
    path = running.record(mount, Path("/log"), exclusive=True)
    assert path is not None
    assert running.of(mount) is not None
    if spoilt == "link":
        path.rename(path.with_suffix(".other"))
        path.symlink_to(path.with_suffix(".other"))
    elif spoilt == "owner":
        os.chown(path, 12345, -1)
    elif spoilt == "writable":
        path.parent.chmod(0o777)
    elif spoilt == "garbage":
        path.write_bytes(b"\xff{}")
    else:
        told = json.loads(path.read_bytes())
        path.write_bytes(msgspec.json.encode({**told, spoilt: "b3RoZXI="}))
    assert running.of(mount) is None


@pytest.mark.parametrize("prefix", [(), STRANGER], ids=["root", "stranger"])
def test_roots_mount_is_listed_alive(place: Place, prefix: tuple[str, ...]) -> None:
    with background(place) as pid:
        place.log.parent.chmod(0o755)
        assert listed(place, prefix) == str(pid)
        if prefix:
            for command in ("status", "policy"):
                done = run(command, place.point, prefix=prefix)
                assert done.returncode == Exit.MOUNT_POINT
                assert "another user's mount" in done.stderr
            assert run("log", place.point, prefix=prefix).returncode == Exit.LOG
            assert "there is no fusecopy mount of yours" in run("log", prefix=prefix).stderr


@pytest.mark.usefixtures("everybody")
def test_root_reads_and_sets_a_users_mount(place: Place) -> None:
    (place.backing / "a").write_bytes(bytes(70000))
    with background(place, prefix=NOBODY) as pid:
        subprocess.run([*NOBODY, "cp", place.point / "a", place.point / "b"], check=True, timeout=30)
        assert listed(place) == str(pid)
        assert listed(place, NOBODY) == str(pid)
        assert listed(place, STRANGER) in (str(pid), "?")
        assert run("policy", place.point, "strict").stdout.endswith(" strict\n")
        assert run("policy", place.point, prefix=NOBODY).stdout.endswith(" strict\n")
        status = run("status", "--json", place.point)
        assert json.loads(status.stdout)["pid"] == str(pid)
        shown = run("log", place.point)
        assert shown.returncode == 0
        assert any(line.endswith(" b") for line in shown.stdout.splitlines())
        assert run("policy", place.point, "default", prefix=STRANGER).returncode == Exit.MOUNT_POINT


@pytest.mark.parametrize("recorded", [True, False])
def test_no_command_waits_for_a_stopped_server(place: Place, recorded: bool) -> None:
    (place.backing / "a").write_bytes(bytes(70000))
    with background(place) as pid:
        subprocess.run(["cp", place.point / "a", place.point / "b"], check=True, timeout=30)
        assert run("log", place.point).returncode == 0
        if not recorded:
            (running.ROOTS / f"{there(place).connection}.json").unlink()
        (place.point / "c").touch()  # nothing more is believed of the directory
        with stopped(pid, place):
            assert listed(place) == (str(pid) if recorded else "?")
            assert run("--version").returncode == 0
            assert run("doctor").returncode == 0
            commands = [["status"], ["policy"], ["policy", "strict"], ["shell"]]
            with ThreadPoolExecutor(len(commands)) as pool:
                for done in pool.map(lambda words: run(words[0], place.point, *words[1:]), commands):
                    assert done.returncode == Exit.MOUNT_POINT
                    assert "does not answer" in done.stderr
            shown = run("log", place.point)
            assert shown.returncode == (0 if recorded else Exit.LOG)
            if recorded:
                assert "does not answer" in shown.stderr
                assert any(line.endswith(" b") for line in shown.stdout.splitlines())
            assert run("explain", place.point / "b").returncode == Exit.MOUNT_POINT


def test_a_killed_servers_log_is_found_by_its_mount(place: Place) -> None:
    (place.backing / "a").write_bytes(bytes(70000))
    assert run("mount", "--log", place.log, place.backing, place.point).returncode == 0
    try:
        pid = int(os.getxattr(place.point, "user.fusecopy.pid"))
        subprocess.run(["cp", place.point / "a", place.point / "b"], check=True, timeout=30)
        assert run("log", place.point).returncode == 0
        os.kill(pid, signal.SIGKILL)
        assert listed(place) == "dead"
        shown = run("log", place.point)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert any(line.endswith(" b") for line in shown.stdout.splitlines())
        assert run("status", place.point).returncode == Exit.MOUNT_POINT
    finally:
        subprocess.run(["umount", "-l", place.point], check=True, timeout=30)


def test_a_second_mount_of_a_backing_is_said(place: Place) -> None:
    other = Place(
        place.backing / "inside", place.point.with_name("other"), place.log.with_name("other.jsonl")
    )
    other.backing.mkdir()
    other.point.mkdir()
    for first, second, warned in (("--exclusive",), (), True), ((), ("--exclusive",), True), ((), (), False):
        with background(place, *first):
            done = run("mount", *second, "--log", other.log, other.backing, other.point)
            assert done.returncode == 0
            assert (f"{place.backing} is already served at {place.point}" in done.stderr) is warned
            assert run("umount", other.point).returncode == 0


def test_paths_are_resolved_without_a_look_at_a_mount(place: Place) -> None:
    link = place.log.with_name("link")
    link.symlink_to(place.point)
    with background(place) as pid:
        (place.point / "c").touch()
        with stopped(pid, place):
            for name in (place.point, link, place.point / ".." / place.point.name, f"{link}/x/.."):
                assert mounts.resolved(str(name)) == str(place.point)


def test_a_part_of_a_mount_bound_elsewhere(place: Place) -> None:
    """Asked and looked at as where it was mounted."""
    (place.backing / "sub").mkdir()
    (place.backing / "sub" / "a").write_bytes(bytes(70000))
    bound = place.point.with_name("bound")
    bound.mkdir()
    with background(place) as pid:
        subprocess.run(["mount", "--bind", place.point / "sub", bound], check=True, timeout=30)
        try:
            subprocess.run(["cp", bound / "a", bound / "b"], check=True, timeout=30)
            assert json.loads(run("status", "--json", bound).stdout)["pid"] == str(pid)
            assert run("policy", bound, "strict").stdout.endswith(" strict\n")
            assert run("log", bound).stdout.splitlines()[1].endswith(" sub/b")
            told = run("explain", bound / "b")
            assert (told.returncode, str(place.backing / "sub" / "b") in told.stdout) == (0, True)
            verified = run("verify", "--json", bound / "a", place.point / "sub" / "b")
            assert json.loads(verified.stdout)["length"] == 70000
            assert verified.returncode in (Exit.OK, Exit.NOT_SHARED)
        finally:
            subprocess.run(["umount", bound], check=True, timeout=30)
