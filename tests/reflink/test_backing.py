"""What is measured of a directory, on filesystems that differ in it."""

import os
from pathlib import Path

import pytest

from fusecopy.copying.backing import Backing, measure
from fusecopy.errors import BackingError
from tests import loopfs


def test_three_filesystems(btrfs: Path, xfs: Path, ext4: Path) -> None:
    assert measure(btrfs) == Backing("btrfs", 4096, reflink=True, fiemap=True, holes=True, readonly=False)
    assert measure(xfs) == Backing("xfs", 4096, reflink=True, fiemap=True, holes=True, readonly=False)
    assert measure(ext4) == Backing("ext4", 4096, reflink=False, fiemap=True, holes=True, readonly=False)


@pytest.mark.root
@pytest.mark.parametrize("kind", ["tmpfs", "ramfs"])
def test_in_memory(tmp_path: Path, kind: str) -> None:
    """In ramfs lseek finds no holes."""
    with loopfs.mount(tmp_path / kind, "-t", kind, "none") as point:
        holes = kind == "tmpfs"
        assert measure(point) == Backing(kind, 4096, reflink=False, fiemap=False, holes=holes, readonly=False)
        assert os.listdir(point) == []


@pytest.mark.loop
def test_read_only_is_not_guessed(tmp_path: Path) -> None:
    with loopfs.mounted("btrfs", tmp_path) as point:
        loopfs.run("mount", "-o", "remount,ro", point)
        assert measure(point) == Backing("btrfs", 4096, reflink=None, fiemap=None, holes=None, readonly=True)


@pytest.mark.root
def test_a_full_filesystem_is_not_guessed(tmp_path: Path) -> None:
    with loopfs.mount(tmp_path / "tmpfs", "-t", "tmpfs", "-o", "size=4k", "none") as point:
        (point / "ballast").write_bytes(b"x")
        assert measure(point) == Backing("tmpfs", 4096, reflink=None, fiemap=None, holes=None, readonly=False)


def test_nothing_is_left_behind(backing: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    measure(backing)
    assert os.listdir(backing) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackingError, match="file cannot be opened: Not a directory"):
        measure(tmp_path / "file")
    with pytest.raises(BackingError, match="none cannot be opened: No such file or directory"):
        measure(tmp_path / "none")
