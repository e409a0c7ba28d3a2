"""fusecopy mount: in the background, its refusals with their exit statuses, its options."""

import os
import subprocess
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.cli.mount import default_log
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Footer, Header
from fusecopy.errors import Exit, UsageError
from tests.cli.commands import NOBODY, Place, background, run
from tests.mounted import FUSECOPY

pytestmark = [pytest.mark.fuse, pytest.mark.root]


def refused(place: Place, *command: str | Path, prefix: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit status and words of a `fusecopy mount` that mounts nothing."""
    done = run("mount", *command, prefix=prefix)
    assert done.stdout == ""
    assert mounts.at(str(place.point)) is None
    return done.returncode, done.stderr


def test_returns_once_the_mount_answers_and_its_server_has_let_go(place: Place) -> None:
    (place.backing / "a").write_text("content")
    done = run("mount", "--log", place.log, place.backing, place.point)
    assert (place.point / "a").read_text() == "content"
    pid = os.getxattr(place.point, "user.fusecopy.pid").decode()
    assert done.stdout == (
        f"mounted {place.backing} on {place.point} (pid {pid}), coherence: watched -"
        f" watch: fusecopy log -F {place.point}\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(int(pid)) == int(pid)
    shown = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE,SOURCE", place.point], capture_output=True, text=True, timeout=10
    )
    assert shown.stdout.split() == ["fuse.fusecopy", str(place.backing)]
    assert run("umount", place.point).returncode == 0


def test_log_of_a_mount_in_the_background_gets_its_records(place: Place) -> None:
    (place.backing / "a").write_bytes(bytes(range(256)) * 256)
    with background(place):
        subprocess.run(["cp", place.point / "a", place.point / "b"], check=True, timeout=30)
        shown = run("log", place.point)
        assert shown.returncode == 0
        assert any(line.endswith(" b") for line in shown.stdout.splitlines())
    records = list(current(place.log))
    assert isinstance(records[0], Header)
    assert (records[0].backing, records[0].mount) == (str(place.backing), str(place.point))
    assert [record.dst for record in records if isinstance(record, Copy)] == ["b"]
    assert isinstance(records[-1], Footer)
    assert records[-1].totals.copies == {"dispatched": 1}
    assert not place.log.with_suffix(".diagnostics").exists()


def test_mounts_are_listed(place: Place) -> None:
    with background(place) as pid:
        connection = mounts.at(str(place.point))
        assert connection is not None
        lines = [line.split() for line in run("list").stdout.splitlines()]
        assert lines[0] == ["PID", "CONN", "BACKING", "MOUNTPOINT"]
        assert [str(pid), str(connection.connection), str(place.backing), str(place.point)] in lines


def test_second_mount_at_the_same_point_is_refused(place: Place) -> None:
    with background(place):
        done = run("mount", "--log", place.log, place.backing, place.point)
        assert (done.returncode, done.stdout) == (Exit.STALE, "")
        assert done.stderr == (
            f"fusecopy: {place.point}: fusecopy already serves {place.backing} there\n"
            f"  fusecopy umount {place.point}\n"
        )
        assert len([mount for mount in mounts.ours() if mount.mountpoint == str(place.point)]) == 1


def test_mount_point_that_cannot_be_used(place: Place) -> None:
    inside = place.backing / "inside"
    inside.mkdir()
    (place.backing / "file").touch()
    for point, words in (
        (inside, f"{inside} lies inside the backing directory {place.backing}"),
        (place.backing / "missing", "No such file or directory"),
        (place.backing / "file", "Not a directory"),
    ):
        status, said = refused(place, "--log", place.log, place.backing, point)
        assert status == Exit.MOUNT_POINT
        assert words in said


def test_backing_directory_that_cannot_be_used(place: Place) -> None:
    (place.backing / "file").touch()
    for backing in (place.backing / "missing", place.backing / "file"):
        status, said = refused(place, "--log", place.log, backing, place.point)
        assert status == Exit.BACKING
        assert str(backing) in said


def test_log_that_cannot_be_written_leaves_nothing_mounted(place: Place) -> None:
    (place.backing / "file").touch()
    status, said = refused(place, "--log", place.point / "log", place.backing, place.point)
    assert status == Exit.USAGE
    assert "the log cannot lie inside the mount" in said
    for log in (place.backing / "file" / "log", Path("/dev/null")):
        status, said = refused(place, "--log", log, place.backing, place.point)
        assert status == Exit.LOG
        assert f"{log}: the dispatch log cannot be written" in said


def test_log_inside_the_backing_directory_is_warned_of(place: Place) -> None:
    done = run("mount", "--log", place.backing / "log", place.backing, place.point)
    assert done.returncode == 0
    assert "the log lies inside the backing directory" in done.stderr
    assert run("umount", place.point).returncode == 0


def test_mount_over_its_own_backing_directory(place: Place) -> None:
    (place.backing / "a").write_text("content")
    over = Place(place.backing, place.backing, place.log)
    with background(over):
        assert (place.backing / "a").read_text() == "content"
        subprocess.run(["cp", place.backing / "a", place.backing / "b"], check=True, timeout=30)
    assert (place.backing / "b").read_text() == "content"


def test_no_dev_fuse(place: Place) -> None:
    script = 'mount -t tmpfs none /dev && exec "$@"'
    status, said = refused(
        place,
        "--log",
        place.log,
        place.backing,
        place.point,
        prefix=("unshare", "-m", "sh", "-c", script, "-"),
    )
    assert status == Exit.NO_FUSE
    assert said.startswith("fusecopy: /dev/fuse is missing\n")


@pytest.mark.usefixtures("everybody")
def test_ordinary_user_may_not_mount_everywhere(place: Place) -> None:
    place.point.chmod(0o755)
    status, said = refused(place, "--log", place.log, place.backing, place.point, prefix=NOBODY)
    assert status == Exit.MOUNT_REFUSED
    assert f"{place.point}: the mount was refused" in said


@pytest.mark.usefixtures("everybody")
def test_ordinary_user_needs_leave_for_allow_other(place: Place) -> None:
    assert "user_allow_other" not in Path("/etc/fuse.conf").read_text().splitlines()
    command = ("--log", place.log, "-o", "allow_other", place.backing, place.point)
    status, said = refused(place, *command, prefix=NOBODY)
    assert status == Exit.USAGE
    assert "write the line user_allow_other into /etc/fuse.conf" in said


@pytest.mark.usefixtures("everybody")
def test_ordinary_users_log_lies_in_the_state_directory(place: Place) -> None:
    state = place.log.parent / "state"
    state.mkdir()
    state.chmod(0o777)
    (place.backing / "a").write_text("content")
    mount = ("mount", place.backing, place.point)
    done = run(*mount, prefix=NOBODY, environment={"XDG_STATE_HOME": str(state)})
    assert (done.returncode, done.stderr) == (0, "")
    subprocess.run([*NOBODY, "cp", place.point / "a", place.point / "b"], check=True, timeout=30)
    assert run("umount", place.point, prefix=NOBODY).returncode == 0
    name = str(place.point)[1:].replace("-", "\\x2d").replace("/", "-")
    records = list(current(state / "fusecopy" / f"{name}.jsonl"))
    assert [record.uid for record in records if isinstance(record, Copy)] == [65534]
    assert (state / "fusecopy").stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("everybody")
def test_root_of_a_user_namespace_makes_files_and_has_its_log_in_the_state_directory(place: Place) -> None:
    """As in a rootless container: setgroups(2) is forbidden, and /var/log is somebody else's."""
    state = place.log.parent / "state"
    for directory in (state, place.backing, place.point):
        directory.mkdir(exist_ok=True)
        directory.chmod(0o777)
    os.chown(place.backing, 65534, 65534)
    script = """
"$0" mount "$1" "$2" && echo made >"$2/a" && mkdir "$2/d" && cp "$2/a" "$2/d/b" || exit
"$0" log --json "$2" && "$0" umount "$2"
"""
    namespace = ("unshare", "--map-root-user", "--mount", "sh", "-c", script)
    done = subprocess.run(
        [*NOBODY, *namespace, FUSECOPY, place.backing, place.point],
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert '"dst":"d/b"' in done.stdout
    assert (place.backing / "d/b").read_text() == "made\n"
    assert list((state / "fusecopy").glob("*.jsonl"))


def test_default_log_of_root_and_of_a_user_without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_log("/mnt/a-b") == Path("/var/log/fusecopy/mnt-a\\x2db.jsonl")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    with pytest.raises(UsageError, match="no home directory"):
        default_log("/mnt")


def test_policy_is_the_owners(place: Place) -> None:
    with background(place, "-o", "allow_other,paths=reflink:splice,strict"):
        assert run("policy", place.point).stdout == "paths=reflink,splice strict\n"
        denied = run("policy", place.point, "default", prefix=NOBODY)
        assert (denied.returncode, denied.stdout) == (Exit.FAILURE, "")
        assert "only the owner of the mount and root may change its policy" in denied.stderr
        assert run("policy", place.point, prefix=NOBODY).stdout == "paths=reflink,splice strict\n"
        wrong = run("policy", place.point, "paths=teleport")
        assert wrong.returncode == Exit.USAGE
        changed = run("policy", place.point, "nostrict", "paths=splice", "decline=exdev")
        assert (changed.returncode, changed.stdout) == (0, "paths=splice decline=exdev\n")
    elsewhere = run("policy", place.backing)
    assert elsewhere.returncode == Exit.MOUNT_POINT
