"""What the kernel was told of inodes, and for how long it may believe it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.filesystem.inodes import InodeTable
from fusecopy.native import inodes
from fusecopy.native._native import ffi, lib
from fusecopy.native.entries import Entry
from fusecopy.native.inodes import Inode


@pytest.fixture
def table(tmp_path: Path) -> Iterator[InodeTable]:
    table = InodeTable(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY), 8, timeout=2.5)
    yield table
    table.close()


@pytest.fixture
def inode(table: InodeTable, tmp_path: Path) -> Inode:
    (tmp_path / "f").touch()
    return Entry.entered(os.open(tmp_path / "f", os.O_PATH), table.root, b"f")[1]


def tell(number: int, size: int) -> Entry:
    """Tell the kernel of a file of so many bytes."""
    entry = Entry(ffi.new("struct fusecopy_entry *"))
    entry.native.stat.st_size = size
    lib.fusecopy_tell(number, entry.native)
    assert (entry.number, entry.st_size) == (number, size)
    return entry


def believed(entry: Entry) -> float:
    return float(entry.native.attr_timeout)


def test_the_size_told_last(table: InodeTable, inode: Inode) -> None:
    assert inode.told_size == -1
    for size in (7, 5):
        assert believed(tell(inode.number, size)) == 2.5
        assert inode.told_size == size
    table.forget([(inode.number, 1)])
    assert inode.told_size == -1


def test_what_is_not_believed_any_more(inode: Inode) -> None:
    assert inodes.expire(inode.number)
    assert not inodes.expire(inode.number)
    assert believed(tell(inode.number, 0)) == 0


def test_a_number_that_is_not_there_is_told_but_not_believed(table: InodeTable) -> None:
    assert believed(tell(7, 5)) == 0
    assert not inodes.expire(7)
