"""mount.fusecopy, as mount(8) calls it for `mount -t fusecopy` and for fstab."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.errors import Exit
from tests.cli.commands import Place, run

pytestmark = [pytest.mark.fuse, pytest.mark.root]

HELPER = Path(sys.executable).with_name("mount.fusecopy")
LINK = Path("/sbin/mount.fusecopy")


def helper(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the helper to its end."""
    return subprocess.run([HELPER, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def linked() -> Iterator[None]:
    """The helper where mount(8) looks for it."""
    if LINK.exists():
        yield
        return
    LINK.symlink_to(HELPER)
    yield
    LINK.unlink()


def test_called_as_mount_calls_it(place: Place) -> None:
    done = helper(place.backing, place.point, "-n", "-v", "-o", f"rw,noexec,strict,log={place.log}")
    assert (done.returncode, done.stderr) == (0, "")
    assert os.getxattr(place.point, "user.fusecopy.policy").endswith(b" strict")
    assert os.getxattr(place.point, "user.fusecopy.log") == os.fsencode(place.log)
    assert run("umount", place.point).returncode == 0


@pytest.mark.parametrize("words", ["rw", "rw,nodev", "rw,nosuid,nodev"])
def test_devices_and_suid_are_as_mount_has_them(place: Place, words: str) -> None:
    """mount(8) passes on what is not its default, and `dev` and `suid` are."""
    assert helper(place.backing, place.point, "-o", f"{words},log={place.log}").returncode == 0
    found = next(
        line for line in Path("/proc/self/mounts").read_text().splitlines() if str(place.point) in line
    )
    flags = set(found.split()[3].split(","))
    assert {"nodev", "nosuid"} & flags == {"nodev", "nosuid"} & set(words.split(","))
    assert run("umount", place.point).returncode == 0


def test_fake_checks_the_words_and_mounts_nothing(place: Place) -> None:
    done = helper("-f", "-o", f"log={place.log}", place.backing, place.point)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert mounts.at(str(place.point)) is None
    assert helper("-f", "-o", "no_such_word", place.backing, place.point).returncode == Exit.USAGE


def test_wrong_calls(place: Place) -> None:
    for wrong, words in (
        (["-o", "alow_other", place.backing, place.point], "did you mean allow_other?"),
        (["-q", place.backing, place.point], "option -q not recognized"),
        ([place.backing], "needs a backing directory and a mount point"),
        (["-N", "/proc/1/ns/mnt", place.backing, place.point], "cannot mount into another namespace"),
    ):
        done = helper(*wrong)
        assert (done.returncode, done.stdout) == (Exit.USAGE, "")
        assert words in done.stderr
    missing = helper(place.backing / "missing", place.point, "-o", f"log={place.log}")
    assert missing.returncode == Exit.BACKING


@pytest.mark.usefixtures("linked")
def test_mount_of_type_fusecopy(place: Place) -> None:
    (place.backing / "a").write_text("content")
    command: list[str | Path] = [
        "mount",
        "-t",
        "fusecopy",
        "-o",
        f"nofail,log={place.log}",
        place.backing,
        place.point,
    ]
    bare = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=bare)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place.point / "a").read_text() == "content"
    there = mounts.at(str(place.point))
    assert there is not None
    assert (there.fstype, there.source) == ("fuse.fusecopy", str(place.backing))
    assert subprocess.run(["umount", place.point], timeout=60).returncode == 0


@pytest.mark.usefixtures("linked")
def test_remount_by_mount(place: Place) -> None:
    assert helper("-o", f"log={place.log}", place.backing, place.point).returncode == 0
    try:
        words = f"remount,ro,log={place.log}"
        done = subprocess.run(
            ["mount", "-t", "fusecopy", "-o", words, place.backing, place.point],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        mount = mounts.at(str(place.point))
        assert mount is not None
        assert "ro" in mount.flags
    finally:
        assert run("umount", place.point).returncode == 0
