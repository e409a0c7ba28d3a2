"""Listings by themselves: what fits, what went meanwhile, and whose the descriptors are."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fusecopy.native._native import ffi
from fusecopy.native.listings import Directory, Listing
from tests.mount.sides import as_caller

HERE, ABOVE = 5, 7
"""What the directory and the one above are called."""

UNKNOWN = 0xFFFFFFFF
NAME = b"f%03d"
ENTRY_OUT = struct.Struct("=QQQQII")
ATTR_BYTES = 88
DIRENT = struct.Struct("=QQII")
PLUS_BYTES = ENTRY_OUT.size + ATTR_BYTES + DIRENT.size


class Shown(NamedTuple):
    """An entry of a reply (struct fuse_direntplus or fuse_dirent); node is 0 without attributes."""

    name: bytes
    ino: int
    after: int
    kind: int
    node: int
    size: int


def shown(listing: Listing) -> list[Shown]:
    """The reply as the kernel would read it (fs/fuse/readdir.c)."""
    data = bytes(ffi.buffer(listing.native.reply, listing.native.used))
    entries, start = [], 0
    while start < len(data):
        node = size = 0
        if listing.plus:
            node = ENTRY_OUT.unpack_from(data, start)[0]
            size = struct.unpack_from("=Q", data, start + ENTRY_OUT.size + 8)[0]
            start += ENTRY_OUT.size + ATTR_BYTES
        ino, after, length, kind = DIRENT.unpack_from(data, start)
        start += DIRENT.size
        entries.append(Shown(data[start : start + length], ino, after, kind, node, size))
        start += (length + 7) // 8 * 8
    return entries


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of a hundred files, each of as many bytes as its number."""
    for number in range(100):
        (tmp_path / os.fsdecode(NAME % number)).write_bytes(bytes(number))
    return tmp_path


@pytest.fixture
def directory(place: Path) -> Iterator[Directory]:
    """The same, open."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    yield Directory(fd)
    os.close(fd)


def batches(listing: Listing, directory: Directory) -> Iterator[int]:
    """Lay the listing out, each file numbered a thousand and its size; how many descriptors each time."""
    while listing.find(directory, HERE, ABOVE):
        found = listing.native.found[0 : listing.native.count]
        descriptors = [each.fd for each in found if each.fd >= 0]
        for each in found:
            if each.fd >= 0:
                each.entry.number = 1000 + each.entry.stat.st_size
        listing.lay_out()
        for descriptor in descriptors:
            os.close(descriptor)  # and fails if it is not open
        yield len(descriptors)


def listed(directory: Directory, size: int, plus: bool) -> list[Shown]:
    """One reply of `size` bytes; as many descriptors came as there are files in it."""
    listing = Listing(size, plus)
    descriptors = sum(batches(listing, directory))
    entries = shown(listing)
    assert descriptors == (len([each for each in entries if each.node >= 1000]) if plus else 0)
    return entries


def whole(directory: Directory, size: int, plus: bool) -> list[Shown]:
    """All entries, by as many replies as it takes."""
    entries: list[Shown] = []
    while reply := listed(directory, size, plus):
        entries += reply
    return entries


@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("size", [PLUS_BYTES + 8, 1000, 4096, 32768])
def test_everything_once_whatever_the_size(directory: Directory, size: int, plus: bool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    entries = whole(directory, size, plus)
    assert sorted(each.name for each in entries) == [b".", b"..", *(NAME % n for n in range(100))]
    assert {each.name: each.ino for each in entries if each.kind == 4} == {b".": HERE, b"..": ABOVE}
    files = [each for each in entries if each.kind == 8]
    if plus:
        assert all(each.node == each.ino == 1000 + each.size == 1000 + int(each.name[1:]) for each in files)
    else:
        assert {each.ino for each in files} == {
            os.stat(each.name, dir_fd=directory.fd).st_ino for each in files
        }
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("plus", [False, True])
def test_a_reply_that_is_filled_exactly(directory: Directory, plus: bool) -> None:
    one = (PLUS_BYTES if plus else DIRENT.size) + 8
    for size, count in ((10 * one, 10), (10 * one - 1, 9), (one, 1), (one - 1, 0)):
        directory.seek(0)
        assert len(listed(directory, size, plus)) == count
    directory.seek(0)
    assert len(listed(directory, 102 * one, plus)) == 102
    assert listed(directory, one, plus) == []


@pytest.mark.parametrize("plus", [False, True])
def test_positions(directory: Directory, plus: bool) -> None:
    entries = whole(directory, 4096, plus)
    for index in (0, 99, 63, 64, 1, 20):
        directory.seek(entries[index].after)
        assert whole(directory, 700, plus) == entries[index + 1 :]
    directory.seek(0)
    assert whole(directory, 4096, plus) == entries


@pytest.mark.parametrize("plus", [False, True])
def test_more_than_one_read_of_the_directory(tmp_path: Path, plus: bool) -> None:
    """Of 32 KiB, in which a name of 250 bytes takes 272: a batch of 64 entries ends with each of them."""
    names = {b"%0250d" % number for number in range(500)}
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    entries = whole(Directory(fd), 1 << 20, plus)
    os.close(fd)
    assert len(entries) == 502
    assert {each.name for each in entries} == names | {b".", b".."}


def test_what_went_since_it_was_read_is_left_out(place: Path, directory: Directory) -> None:
    first = [each.name for each in listed(directory, 5 * (PLUS_BYTES + 8), True)]
    left = {NAME % number for number in range(100)} - set(first)
    gone, other, *_ = sorted(left)
    (place / os.fsdecode(gone)).unlink()
    (place / os.fsdecode(other)).unlink()
    (place / os.fsdecode(other)).mkdir()
    rest = {each.name: each for each in whole(directory, 4096, True)}
    assert set(rest) - {b".", b".."} == left - {gone}
    assert rest[other].kind == 4


def test_when_all_went_since_they_were_read(place: Path, directory: Directory) -> None:
    assert len(listed(directory, PLUS_BYTES + 8, True)) == 1
    for file in place.iterdir():
        file.unlink()
    assert {each.name for each in whole(directory, 4096, True)} <= {b".", b".."}


@pytest.mark.root
def test_what_may_be_listed_but_not_looked_up_is_named(place: Path, directory: Directory) -> None:
    place.chmod(0o744)
    entries = as_caller(place, lambda _: whole(directory, 4096, True))
    files = [each for each in entries if each.kind == 8]
    assert len(files) == 100
    assert all((each.node, each.ino, each.size) == (0, UNKNOWN, 0) for each in files)
    assert len(entries) == 102


def test_a_directory_that_cannot_be_read_on(place: Path) -> None:
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY)
    listing = Listing(4096, plus=True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        listing.find(Directory(fd), HERE, ABOVE)
    assert listing.is_empty
    os.close(fd)
