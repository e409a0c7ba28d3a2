"""Which open files a release looks at: few of however many are open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.openfiles import LATEST, OpenFile, Readers
from fusecopy.native import files as native
from fusecopy.observe.caller import Caller

MANY = 10 * LATEST


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[OpenFile]]:
    """Open files of 0, 1, 2, ... bytes."""
    opened = []
    table = InodeTable(os.open(tmp_path, os.O_PATH), 1, 0)
    for size in range(MANY):
        path = tmp_path / str(size)
        path.write_bytes(bytes(size))
        opened.append(OpenFile(native.opened(os.open(path, os.O_RDONLY), table.root, os.O_RDONLY, 0, 1)))
    yield opened
    for file in opened:
        file.native.take_out()
        os.close(file.fd)
    table.close()


def caller(pid: int, group: int) -> Caller:
    return Caller(pid, "program", 0, group=group)


def test_the_latest_and_those_of_the_size_are_found(files: list[OpenFile]) -> None:
    readers = Readers()
    for file in files:
        readers.add(file, caller(7, 7))
    near = readers.near(caller(7, 7), 3)
    assert set(near) == {files[3], *files[-LATEST:]}
    assert len(near) == LATEST + 1


def test_by_process_and_by_group_and_by_nobody_else(files: list[OpenFile]) -> None:
    readers = Readers()
    readers.add(files[0], caller(7, 5))
    readers.add(files[1], caller(8, 5))
    readers.add(files[2], caller(9, 9))
    readers.add(files[3], caller(0, 0))
    assert set(readers.near(caller(7, 5), 100)) == {files[0], files[1]}
    assert readers.near(caller(9, 9), 100) == [files[2]]
    assert readers.near(caller(0, 0), 100) == [files[3]]
    assert readers.near(caller(10, 0), 0) == []


def test_of_what_is_closed_nothing_is_left(files: list[OpenFile]) -> None:
    readers = Readers()
    for file in files:
        readers.add(file, caller(7, 7))
        readers.add(file, caller(8, 7))
    for file in files:
        readers.remove(file)
        readers.remove(file)
    assert readers.near(caller(7, 7), 0) == []
    assert not readers._files
    assert not readers._keys
