"""The names that records tell a copy's files by: names that the files have."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.test_names import EXCHANGE, rename
from tests.mounted import FUSECOPY, mounted
from tests.reflink.files import noise

SIZE = 65536

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


def clone(source: Path, destination: Path) -> None:
    """Copy by one request."""
    with source.open("rb") as a, destination.open("wb") as b:
        assert os.copy_file_range(a.fileno(), b.fileno(), SIZE, 0, 0) == SIZE


def read_and_write(source: Path, destination: Path) -> None:
    """Copy as a program does that knows nothing better."""
    destination.write_bytes(source.read_bytes())


def _rename_source(top: Path, number: int) -> None:
    os.rename(top / "a", top / f"renamed{number}")


def _unlink_source(top: Path, number: int) -> None:
    os.unlink(top / "a")


def _replace_source(top: Path, number: int) -> None:
    (top / "new").write_bytes(b"another file")
    os.rename(top / "new", top / "a")


def _truncate_source(top: Path, number: int) -> None:
    os.truncate(top / "a", 0)


def _link_source(top: Path, number: int) -> None:
    os.link(top / "a", top / f"link{number}")
    os.unlink(top / "a")


def _rename_destination(top: Path, number: int) -> None:
    os.rename(top / "to", top / f"to{number}")


def _link_destination(top: Path, number: int) -> None:
    os.link(top / "to", top / f"linked{number}")
    os.unlink(top / "to")


def _unlink_destination(top: Path, number: int) -> None:
    os.unlink(top / "to")


def _truncate_destination(top: Path, number: int) -> None:
    os.truncate(top / "to", 1)


def _exchange(top: Path, number: int) -> None:
    rename(top / "a", top / "to", EXCHANGE)
    os.rename(top / "to", top / f"exchanged{number}")


def _rename_directory(top: Path, number: int) -> None:
    os.rename(top, top.with_name(f"was{number}"))


AT_ONCE: dict[Callable[[Path, int], None], str] = {
    _rename_source: "d/to",
    _unlink_source: "d/to",
    _replace_source: "d/to",
    _truncate_source: "d/to",
    _link_source: "d/to",
    _rename_destination: "d/to{}",
    _link_destination: "d/linked{}",
    _unlink_destination: "d/to",
    _truncate_destination: "d/to",
    _exchange: "d/a",
    _rename_directory: "was{}/to",
}
"""What may follow a copy at once, with the destination's name then; its directory may be renamed later."""


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


@pytest.mark.parametrize("copy", [clone, read_and_write], ids=lambda copy: copy.__name__)
def test_what_follows_a_copy_at_once_does_not_change_its_record(
    btrfs: Path, copy: Callable[[Path, Path], None]
) -> None:
    """The same names are used again and again."""
    backing = btrfs / f"at-once-{copy.__name__}"
    backing.mkdir()
    rounds = [(number, act) for number in range(4) for act in AT_ONCE]
    with mounted(backing) as mount:
        top = mount.path / "d"
        for seed, (number, act) in enumerate(rounds):
            top.mkdir(exist_ok=True)
            (top / "a").write_bytes(noise(SIZE, seed))
            copy(top / "a", top / "to")
            act(top, number)
            for name in ("a", "to"):
                (top / name).unlink(missing_ok=True)
        copies = mount.copies(len(rounds))
    told = [(copy.src, copy.copied, copy.unprovable) for copy in copies]
    assert told == [("d/a", SIZE, 0)] * len(rounds)
    for copy_told, (number, act) in zip(copies, rounds, strict=True):
        assert Path(copy_told.dst).name in ("to", Path(AT_ONCE[act].format(number)).name)


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
