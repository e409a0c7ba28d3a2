"""The server is killed: what the mount point says, how it is taken away or replaced, what the backing has."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Footer
from fusecopy.errors import Exit
from tests.loopfs import MIB, run
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

GONE = "not connected|connection abort"
"""By io_uring the kernel takes a moment longer to end the connection of a server that is gone."""


def fusecopy(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end."""
    return subprocess.run([FUSECOPY, *arguments], capture_output=True, text=True, timeout=60)


@contextmanager
def killed(backing: Path) -> Iterator[Mounted]:
    """A mount whose server was killed after a copy."""
    (backing / "a").write_bytes(noise(MIB))
    with mounted(backing, expected="-") as mount:
        run("cp", mount.path / "a", mount.path / "b")
        mount.copies(1)
        mount.process.send_signal(signal.SIGKILL)
        assert mount.process.wait(30) == -signal.SIGKILL
        with pytest.raises(OSError, match=GONE):
            os.stat(mount.path)
        yield mount
        assert mounts.at(str(mount.path)) is None


def test_umount_takes_a_dead_mount_away(sharing_backing: Path) -> None:
    with killed(sharing_backing) as mount:
        done = fusecopy("umount", mount.path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        again = fusecopy("umount", mount.path)
        assert again.returncode == Exit.MOUNT_POINT
        assert again.stderr.startswith(f"fusecopy: {mount.path}: fusecopy has no mount there\n")
        records = list(current(mount.log))
    assert [record.dst for record in records if isinstance(record, Copy)] == ["b"]
    assert not isinstance(records[-1], Footer)
    assert (sharing_backing / "b").read_bytes() == noise(MIB)


def test_mount_says_what_is_there_and_replaces_it_if_told(sharing_backing: Path, tmp_path: Path) -> None:
    with killed(sharing_backing) as mount:
        command: list[str | Path] = ["mount", "--log", tmp_path / "log", sharing_backing, mount.path]
        refused = fusecopy(*command)
        assert refused.returncode == Exit.STALE
        assert refused.stderr == (
            f"fusecopy: {mount.path}: a mount whose server is gone is still there\n"
            f"  fusecopy umount {mount.path}, or mount with --replace\n"
        )
        listed = fusecopy("list").stdout.splitlines()
        assert [line.split() for line in listed if str(mount.path) in line] == [
            ["dead", str(mount.connection), str(sharing_backing), str(mount.path)]
        ]
        replaced = fusecopy(*command, "--replace")
        assert (replaced.returncode, replaced.stderr) == (0, "")
        assert (mount.path / "b").read_bytes() == noise(MIB)
        there = fusecopy(*command, "--replace")
        assert there.returncode == Exit.STALE
        assert f"fusecopy already serves {sharing_backing} there" in there.stderr
        assert fusecopy("umount", mount.path).returncode == 0


def test_copies_under_way_fail_and_nothing_is_lost(sharing_backing: Path) -> None:
    """What was answered is in the backing; what was not fails in the program."""
    (sharing_backing / "a").write_bytes(noise(64 * MIB))
    with mounted(sharing_backing, "--paths", "readwrite", expected="-") as mount:
        a = os.open(mount.path / "a", os.O_RDONLY)
        b = os.open(mount.path / "b", os.O_WRONLY | os.O_CREAT)
        assert os.copy_file_range(a, b, MIB) == MIB
        mount.process.send_signal(signal.SIGKILL)
        mount.process.wait(30)
        with pytest.raises(OSError, match=GONE):
            os.copy_file_range(a, b, MIB)
        for descriptor in (a, b):
            with suppress(OSError):  # the inner loop is not asked: closing tells nothing new
                os.close(descriptor)
        assert fusecopy("umount", mount.path).returncode == 0
    assert (sharing_backing / "a").read_bytes() == noise(64 * MIB)
    assert (sharing_backing / "b").read_bytes() == noise(64 * MIB)[:MIB]
