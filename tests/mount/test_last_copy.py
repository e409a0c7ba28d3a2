"""What is told of the last copy into a file is told of that file, and of what ended the copy."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import loopfs
from tests.loopfs import MIB
from tests.mount.test_every_byte import check
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

MOST = 500
"""Files made until one gets an inode number that was freed."""


def has_last_copy(path: Path) -> bool:
    try:
        os.getxattr(path, "user.fusecopy.copy")
    except OSError:
        return False
    return True


def reused(mount: Mounted, number: int) -> Path | None:
    """A new file that nothing was copied into, with this inode number."""
    for attempt in range(MOST):
        path = mount.path / f"new{attempt}"
        path.touch()
        if path.stat().st_ino == number:
            return path
    return None


@pytest.mark.parametrize("way", ["unlinked", "replaced"])
def test_a_reused_inode_number_does_not_inherit_it(backing: Path, way: str) -> None:
    (backing / "source").write_bytes(noise(MIB))
    with mounted(backing) as mount:
        subprocess.run(["cp", mount.path / "source", mount.path / "copy"], check=True, timeout=60)
        assert has_last_copy(mount.path / "copy")
        number = (mount.path / "copy").stat().st_ino
        if way == "unlinked":
            (mount.path / "copy").unlink()
        else:
            (mount.path / "another").touch()
            (mount.path / "another").rename(mount.path / "copy")
        path = reused(mount, number)
        if path is None:
            assert backing.parent.name == "btrfs", "only btrfs uses no number twice"
        else:
            assert not has_last_copy(path)


def test_it_outlives_what_the_kernel_knows(backing: Path) -> None:
    """A file keeps its last copy however often its inode is forgotten and whatever it is called."""
    (backing / "source").write_bytes(noise(MIB))
    with mounted(backing) as mount:
        subprocess.run(["cp", mount.path / "source", mount.path / "copy"], check=True, timeout=60)
        os.rename(mount.path / "copy", mount.path / "renamed")
        Path("/proc/sys/vm/drop_caches").write_text("2")
        assert has_last_copy(mount.path / "renamed")


def test_a_full_filesystem_is_the_cause_of_what_it_ended(tmp_path: Path) -> None:
    """Not that the filesystem has no reflinks, which the copy found out before."""
    with loopfs.mounted("ext4", tmp_path, size=40 * MIB, mkfs=("-m", "0")) as filesystem:
        (filesystem / "source").write_bytes(noise(MIB) * 20)
        with mounted(filesystem) as mount:
            cp = ["cp", str(mount.path / "source"), str(mount.path / "copy")]
            done = subprocess.run(cp, capture_output=True, text=True, timeout=60)
            assert "No space left" in done.stderr
            [copy] = mount.copies(1)
    assert copy.errno == "ENOSPC"
    assert copy.cause
    assert copy.cause.startswith("The filesystem ext4 is full")
    check(copy)
