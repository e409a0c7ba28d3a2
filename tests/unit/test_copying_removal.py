"""Removing what a clone left: all of it, and nothing else."""

import errno
import os
from pathlib import Path

import pytest

from fusecopy.copying.removal import remove
from tests.mount.sides import opened


def test_a_tree_goes_whatever_its_modes(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    top = tmp_path / "top"
    (top / "a/b").mkdir(parents=True)
    (top / "a/b/file").touch()
    (top / "out").symlink_to(outside)
    (top / "a/b").chmod(0)
    (top / "a").chmod(0o500)
    st = top.stat()
    with opened(tmp_path, os.O_RDONLY) as parent:
        remove(parent, b"top", (st.st_dev, st.st_ino))
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["file"]


def test_another_directory_of_that_name_stays(tmp_path: Path) -> None:
    (tmp_path / "top/precious").mkdir(parents=True)
    with opened(tmp_path, os.O_RDONLY) as parent, pytest.raises(OSError, match="Stale") as raised:
        remove(parent, b"top", (0, 0))
    assert raised.value.errno == errno.ESTALE
    assert os.listdir(tmp_path / "top") == ["precious"]
