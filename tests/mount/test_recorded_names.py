"""The names that records tell a copy's files by: names that the files have."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.test_names import EXCHANGE, rename
from tests.mounted import FUSECOPY, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]


def _link_gone(top: Path) -> None:
    os.link(top / "a", top / "tmp")
    os.unlink(top / "tmp")


def _link_replaced(top: Path) -> None:
    _link_gone(top)
    (top / "tmp").write_bytes(b"another file")


def _link_renamed_over(top: Path) -> None:
    os.link(top / "a", top / "tmp")
    (top / "new").write_bytes(b"another file")
    os.rename(top / "new", top / "tmp")


def _link_exchanged(top: Path) -> None:
    os.link(top / "a", top / "tmp")
    (top / "new").write_bytes(b"another file")
    rename(top / "new", top / "tmp", EXCHANGE)
    os.unlink(top / "new")


def _link_of_a_renamed_file(top: Path) -> None:
    os.rename(top / "a", top / "b")
    os.link(top / "b", top / "tmp")
    os.rename(top / "b", top / "a")
    os.unlink(top / "tmp")


def _many_links(top: Path) -> None:
    for number in range(20):
        os.link(top / "a", top / f"l{number}")
    for number in reversed(range(20)):
        os.unlink(top / f"l{number}")


def _links_renamed_onto_each_other(top: Path) -> None:
    """rename(2) of two names of one file does nothing."""
    os.link(top / "a", top / "tmp")
    os.rename(top / "a", top / "tmp")
    os.unlink(top / "tmp")


def _link_gone_behind_the_back(top: Path) -> None:
    os.link(top / "a", top / "one")
    os.link(top / "a", top / "two")
    os.unlink(top.parent / "backing" / "one")
    os.unlink(top / "two")


CASES = [
    _link_gone,
    _link_replaced,
    _link_renamed_over,
    _link_exchanged,
    _link_of_a_renamed_file,
    _many_links,
    _links_renamed_onto_each_other,
    _link_gone_behind_the_back,
]


@pytest.mark.parametrize("act", CASES, ids=lambda act: act.__name__.strip("_"))
def test_a_record_names_its_files_by_names_they_have(btrfs: Path, act: Callable[[Path], None]) -> None:
    top = btrfs / act.__name__
    (top / "backing").mkdir(parents=True)
    (top / "mount").mkdir()
    with mounted(top / "backing", mountpoint=top / "mount") as mount:
        (mount.path / "a").write_bytes(b"a" * 8192)
        (mount.path / "other").write_bytes(b"b" * 8192)
        act(mount.path)
        subprocess.run(["cp", "a", "to"], cwd=mount.path, check=True, timeout=30)
        subprocess.run(["cp", "other", "a"], cwd=mount.path, check=True, timeout=30)
        copies = mount.copies(2)
    assert [(copy.src, copy.dst) for copy in copies] == [("a", "to"), ("other", "a")]


def test_a_directory_served_at_its_own_parent_is_told_by_its_descriptor(btrfs: Path) -> None:
    """The path that it was opened by leads into the mount by then."""
    top = btrfs / "parent"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / "a").write_bytes(b"a" * 8192)
    with mounted(top / "sub", mountpoint=top) as mount:
        subprocess.run(["cp", "a", "b"], cwd=mount.path, check=True, timeout=30)
        (copy,) = mount.copies(1)
        header = mount.log.read_text().splitlines()[0]
        log = subprocess.run([FUSECOPY, "log", mount.path], capture_output=True, text=True, timeout=30)
    assert (copy.src, copy.dst, copy.dispatch) == ("a", "b", "dispatched")
    assert '"filesystem":"btrfs"' in header
    assert log.returncode == 0
