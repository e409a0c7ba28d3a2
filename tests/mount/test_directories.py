"""Listing directories: everything once, positions, changes while it goes on."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mount.ordinary import nobodys_mount
from tests.mount.sides import Sides, as_caller, outcome
from tests.mounted import Mounted

libc = ctypes.CDLL(None, use_errno=True)
for function, result in (
    ("opendir", ctypes.c_void_p),
    ("readdir", ctypes.c_void_p),
    ("telldir", ctypes.c_long),
):
    getattr(libc, function).restype = result
for function in ("readdir", "telldir", "closedir", "rewinddir"):
    getattr(libc, function).argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Dirent(ctypes.Structure):
    """struct dirent of the C library."""

    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("off", ctypes.c_int64),
        ("length", ctypes.c_uint16),
        ("kind", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    )


@contextmanager
def opendir(path: Path) -> Iterator[int]:
    """An open directory stream."""
    stream: int = libc.opendir(os.fsencode(path))
    assert stream
    try:
        yield stream
    finally:
        libc.closedir(stream)


def entries(stream: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, number and kind of each entry from where the stream stands."""
    while address := libc.readdir(stream):
        entry = Dirent.from_address(address)
        yield entry.name, entry.ino, entry.kind


def fill(directory: Path, count: int) -> set[bytes]:
    """`count` empty files; their names."""
    for number in range(count):
        os.close(os.open(directory / f"file{number:06}", os.O_WRONLY | os.O_CREAT))
    return {b"file%06d" % number for number in range(count)}


def test_dots_kinds_and_numbers(sides: Sides) -> None:
    (sides.mount / "d" / "e").mkdir(parents=True)
    (sides.mount / "d" / "f").touch()
    (sides.mount / "d" / "s").symlink_to("f")
    with opendir(sides.mount / "d") as stream:
        found = {name: (ino, kind) for name, ino, kind in entries(stream)}
    assert {name: kind for name, (_, kind) in found.items()} == {
        b".": 4,
        b"..": 4,
        b"e": 4,
        b"f": 8,
        b"s": 10,
    }
    for name, (ino, _) in found.items():
        assert ino == (sides.mount / "d" / os.fsdecode(name)).lstat().st_ino


def test_the_root_is_its_own_parent(sides: Sides) -> None:
    with opendir(sides.mounted.path) as stream:
        found = {name: ino for name, ino, _ in entries(stream)}
    assert found[b"."] == found[b".."] == 1


def test_every_entry_once(sides: Sides) -> None:
    names = fill(sides.behind, 3000)
    listed = os.listdir(os.fsencode(sides.mount))
    assert len(listed) == len(names)
    assert set(listed) == names


@pytest.mark.slow
def test_every_one_of_100_000_entries_once(btrfs_sides: Sides) -> None:
    names = fill(btrfs_sides.behind, 100_000)
    listed = os.listdir(os.fsencode(btrfs_sides.mount))
    assert len(listed) == len(names)
    assert set(listed) == names


def test_removing_what_was_listed_hides_nothing(sides: Sides) -> None:
    names = fill(sides.mount, 700)
    with opendir(sides.mount) as stream:
        for name, _, _ in entries(stream):
            if name not in (b".", b".."):
                names.remove(name)
                os.unlink(sides.mount / os.fsdecode(name))
    assert names == set()
    assert os.listdir(sides.mount) == []


def test_what_is_removed_behind_the_listing_is_not_shown(sides: Sides) -> None:
    fill(sides.behind, 2000)
    with opendir(sides.mount) as stream:
        first = next(entries(stream))[0]
        for name in os.listdir(sides.behind):
            os.unlink(sides.behind / name)
        rest = [name for name, _, _ in entries(stream)]
    # One reply of the server had been taken before: at most 32 KiB, in which an entry takes 32 bytes.
    assert len([first, *rest]) < 1050


def test_positions(sides: Sides) -> None:
    fill(sides.mount, 500)
    with opendir(sides.mount) as stream:
        positions = []
        while True:
            position = libc.telldir(stream)
            entry = next(entries(stream), None)
            if entry is None:
                break
            positions.append((position, entry))
        assert len(positions) == 502
        for position, entry in positions[::-37]:
            libc.seekdir(stream, position)
            assert next(entries(stream)) == entry
        libc.rewinddir(stream)
        assert [entry for _, entry in positions] == list(entries(stream))


def test_rewinding_shows_what_is_new(sides: Sides) -> None:
    with opendir(sides.mount) as stream:
        assert len(list(entries(stream))) == 2
        (sides.mount / "new").touch()
        libc.rewinddir(stream)
        assert b"new" in [name for name, _, _ in entries(stream)]


def test_a_directory_removed_while_it_is_listed(sides: Sides) -> None:
    def act(root: Path) -> list[bytes]:
        (root / "d").mkdir()
        with opendir(root / "d") as stream:
            os.rmdir(root / "d")
            return [name for name, _, _ in entries(stream)]

    assert sides.both(act) == []


def test_listing_needs_the_right_to_read_only(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        (root / "d").mkdir()
        (root / "d" / "f").touch()
        (root / "d").chmod(0o744)

    sides.both(set_up)
    assert sides.as_caller(lambda root: os.listdir(root / "d")) == ["f"]
    assert sides.as_caller(lambda root: (root / "d" / "f").stat().st_size) == "EACCES"


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.loop
def test_a_server_without_the_right_to_search(btrfs: Path) -> None:
    """What may be listed is, with its kind, and what may not be looked up has no attributes."""
    with nobodys_mount(btrfs) as mount:

        def act(_: Path) -> tuple[object, ...]:
            directory = mount.path / "d"
            directory.mkdir()
            (directory / "f").touch()
            (directory / "e").mkdir()
            directory.chmod(0o400)
            found = {entry.name: entry.is_dir() for entry in os.scandir(directory)}
            looked = outcome((directory / "f").stat)
            directory.chmod(0o700)
            sizes = {entry.name: entry.stat().st_size for entry in os.scandir(directory)}
            return found, looked, sizes["f"]

        assert as_caller(mount.backing, act) == ({"f": False, "e": True}, "EACCES", 0)


def test_a_directory_that_may_not_be_read(sides: Sides) -> None:
    sides.both(lambda root: os.mkdir(root / "d", 0o711))
    assert sides.as_caller(lambda root: os.listdir(root / "d")) == "EACCES"
    assert as_caller(sides.mount, lambda root: (root / "d").stat().st_nlink > 0) is True


def test_two_listings_at_once_do_not_disturb_each_other(btrfs_mount: Mounted, btrfs_sides: Sides) -> None:
    names = fill(btrfs_sides.mount, 300)
    with opendir(btrfs_sides.mount) as one, opendir(btrfs_sides.mount) as other:
        pairs = list(zip(entries(one), entries(other), strict=True))
    assert all(a == b for a, b in pairs)
    assert {a[0] for a, _ in pairs} == names | {b".", b".."}
    assert '"open_files": 0' in btrfs_mount.attribute("stats")
