"""Programs copy into a temporary name and rename it: the record tells the name that the copy ends with."""

import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Flow, Record
from fusecopy.dispatch.writer import LINGER_SECONDS
from tests.mount.test_names import EXCHANGE, rename
from tests.mounted import Mounted, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]


def clone(source: Path, destination: Path) -> None:
    with source.open("rb") as a, destination.open("xb") as b:
        os.copy_file_range(a.fileno(), b.fileno(), 8192)


def write(source: Path, destination: Path) -> None:
    destination.write_bytes(source.read_bytes())


def _renamed(top: Path, copy: Callable[[Path, Path], None]) -> None:
    copy(top / "a", top / ".tmp")
    os.rename(top / ".tmp", top / "to")


def _renamed_over_a_file(top: Path, copy: Callable[[Path, Path], None]) -> None:
    (top / "to").touch()
    _renamed(top, copy)


def _renamed_twice(top: Path, copy: Callable[[Path, Path], None]) -> None:
    copy(top / "a", top / ".tmp")
    os.rename(top / ".tmp", top / "d" / "other")
    os.rename(top / "d" / "other", top / "to")


def _directory_renamed(top: Path, copy: Callable[[Path, Path], None]) -> None:
    (top / "new").mkdir()
    copy(top / "a", top / "new" / "file")
    os.rename(top / "new", top / "to")


def _linked_and_unlinked(top: Path, copy: Callable[[Path, Path], None]) -> None:
    """As git makes an object's file."""
    copy(top / "a", top / ".tmp")
    os.link(top / ".tmp", top / "to")
    os.unlink(top / ".tmp")


def _exchanged(top: Path, copy: Callable[[Path, Path], None]) -> None:
    (top / "to").touch()
    copy(top / "a", top / ".tmp")
    rename(top / ".tmp", top / "to", EXCHANGE)


def _without_a_name_at_first(top: Path, copy: Callable[[Path, Path], None]) -> None:
    fd = os.open(top, os.O_TMPFILE | os.O_RDWR, 0o600)
    with (top / "a").open("rb") as source:
        if copy is clone:
            os.copy_file_range(source.fileno(), fd, 8192)
        else:
            os.write(fd, source.read())
    directory = os.open(top, os.O_PATH)
    os.link(f"/proc/self/fd/{fd}", "to", dst_dir_fd=directory, follow_symlinks=True)
    os.close(directory)
    os.close(fd)


def _renamed_while_open(top: Path, copy: Callable[[Path, Path], None]) -> None:
    copy(top / "a", top / ".tmp")
    with (top / ".tmp").open("r+b"):
        os.rename(top / ".tmp", top / "to")


CASES = [
    _renamed,
    _renamed_over_a_file,
    _renamed_twice,
    _directory_renamed,
    _linked_and_unlinked,
    _exchanged,
    _without_a_name_at_first,
    _renamed_while_open,
]


COPIES = [clone, write]


TRIES = 20
"""A machine may be too busy to copy and rename before a record is written."""


def told(mount: Mounted, count: int) -> dict[str, str]:
    """The destinations of the first records of copies and flows, by the first directory."""
    records = mount.records_until(lambda found: len(_destinations(found)) >= count)
    return dict(dst.partition("/")[::2] for dst in _destinations(records))


def _destinations(records: Sequence[Record]) -> list[str]:
    return [one.dst for one in records if isinstance(one, Copy | Flow)]


def in_time(act: Callable[[Path], None], top: Path, name: str) -> tuple[str, int]:
    """Do it in directories of this and further names, until it took less time than a record waits; the last
    name, and how many there are."""
    for attempt in range(TRIES):
        where = top / f"{name}-{attempt}"
        (where / "d").mkdir(parents=True)
        (where / "a").hardlink_to(top / "a")
        begun = time.monotonic()
        act(where)
        if time.monotonic() - begun < LINGER_SECONDS:
            return where.name, attempt + 1
    raise AssertionError(f"{name}: the machine is too busy")


@pytest.mark.parametrize("copy", [clone, write])
def test_a_copy_is_told_by_the_name_it_ends_with(btrfs: Path, copy: Callable[[Path, Path], None]) -> None:
    top = btrfs / copy.__name__
    top.mkdir()
    (top / "a").write_bytes(os.urandom(8192))
    os.sync()
    with mounted(top) as mount:
        done = [in_time(partial(act, copy=copy), mount.path, act.__name__.strip("_")) for act in CASES]
        names = told(mount, sum(count for _, count in done))
        for act, (name, _) in zip(CASES, done, strict=True):
            assert names[name] == ("to/file" if act is _directory_renamed else "to"), name


def test_the_last_copy_is_told_by_the_name_that_is_asked_for(btrfs: Path) -> None:
    top = btrfs / "attribute"
    top.mkdir()
    (top / "a").write_bytes(os.urandom(8192))
    os.sync()
    with mounted(top) as mount:
        clone(mount.path / "a", mount.path / "b")
        assert told(mount, 1) == {"b": ""}  # it is written
        os.rename(mount.path / "b", mount.path / "c")
        assert json.loads(os.getxattr(mount.path / "c", "user.fusecopy.copy"))["dst"] == "c"
