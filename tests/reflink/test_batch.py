"""Files of one directory cloned by one call: what is done is proven, of what is left nothing was made."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusecopy.copying import calls
from fusecopy.copying._native import lib
from fusecopy.copying.batch import Batch, clone_files
from tests import loopfs
from tests.reflink.files import BLOCK, noise

pytestmark = [pytest.mark.root, pytest.mark.loop]


@contextmanager
def directories(root: Path) -> Iterator[tuple[Path, Path]]:
    """One to clone from and one to clone to."""
    source, destination = root / "from", root / "to"
    source.mkdir()
    destination.mkdir()
    yield source, destination


def clone(source: Path, destination: Path, names: list[str], largest: int | None = None) -> Batch:
    one, other = (os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in (source, destination))
    try:
        return clone_files(one, other, b"top/", [name.encode() for name in names], largest)
    finally:
        os.close(one)
        os.close(other)


def totals(source: Path, destination: Path) -> list[int]:
    """What FIEMAP says of two files now: bytes by FC_*."""
    one, other = (os.open(path, os.O_RDONLY) for path in (source, destination))
    try:
        return calls.compare(one, 0, other, 0, source.stat().st_size, 0, equal=True)
    finally:
        os.close(one)
        os.close(other)


def test_each_is_proven(sharing_backing: Path) -> None:
    with directories(sharing_backing) as (source, destination):
        (source / "blocks").write_bytes(noise(9 * BLOCK))
        (source / "tail").write_bytes(noise(2 * BLOCK + 70))
        (source / "inline").write_bytes(b"inline")
        with (source / "sparse").open("wb") as file:
            file.write(noise(BLOCK))
            file.truncate(50 * BLOCK)
        names = ["blocks", "tail", "inline", "sparse"]
        done = clone(source, destination, names)
        assert (done.left, done.rest) == ([], [])
        assert [clone.path for clone in done.clones] == [f"top/{name}".encode() for name in names]
        for name, one in zip(names, done.clones, strict=True):
            st = (destination / name).stat()
            assert (destination / name).read_bytes() == (source / name).read_bytes()
            assert (*one.file[:2], one.size) == (st.st_dev, st.st_ino, st.st_size)
            said = totals(source / name, destination / name)
            proven = [said[state] for state in (lib.FC_SHARED, lib.FC_HOLE, lib.FC_UNPROVABLE)]
            assert [one.shared, one.holes, one.unprovable] == proven, name
            assert 0 < one.begun_ns <= one.ended_ns
        assert done.clones[0].shared == 9 * BLOCK
        assert done.clones[3].holes == 49 * BLOCK


def test_what_takes_more_is_left(sharing_backing: Path) -> None:
    with directories(sharing_backing) as (source, destination):
        for name in ("first", "linked", "last", "empty", "large"):
            (source / name).write_bytes({"empty": b"", "large": noise(2 * BLOCK)}.get(name, noise(BLOCK)))
        os.link(source / "linked", source / "further name")
        os.symlink("first", source / "link")
        os.mkfifo(source / "fifo")
        (source / "directory").mkdir()
        with socket.socket(socket.AF_UNIX) as node:
            node.bind(str(source / "socket"))
        left = ["linked", "link", "fifo", "directory", "socket", "large"]
        done = clone(source, destination, ["first", *left, "gone", "empty", "last"], largest=BLOCK)
        assert done.left == [name.encode() for name in left]
        assert [one.path for one in done.clones] == [b"top/first", b"top/empty", b"top/last"]
        assert sorted(os.listdir(destination)) == ["empty", "first", "last"]


def test_without_reflinks_nothing_is_made(ext4: Path) -> None:
    (ext4 / "batch").mkdir()
    with directories(ext4 / "batch") as (source, destination):
        for name in ("one", "two"):
            (source / name).write_bytes(noise(BLOCK))
        done = clone(source, destination, ["one", "two"])
        assert done == Batch([], [b"one", b"two"], [])
        assert os.listdir(destination) == []


def test_after_a_refusal_all_others_are_left(xfs: Path) -> None:
    (xfs / "batch").mkdir()
    with directories(xfs / "batch") as (source, destination):
        for name in ("before", "swap", "after"):
            (source / name).write_bytes(noise(1 << 20))
        (source / "swap").chmod(0o600)
        loopfs.run("mkswap", source / "swap")
        loopfs.run("swapon", source / "swap")
        try:
            done = clone(source, destination, ["before", "swap", "after"])
        finally:
            loopfs.run("swapoff", source / "swap")
        assert done.left == [b"swap", b"after"]
        assert os.listdir(destination) == ["before"]


def test_a_name_that_is_taken_is_left_and_not_removed(btrfs: Path) -> None:
    (btrfs / "taken").mkdir()
    with directories(btrfs / "taken") as (source, destination):
        (source / "file").write_bytes(noise(BLOCK))
        (destination / "file").write_bytes(b"another's")
        assert clone(source, destination, ["file"]).left == [b"file"]
        assert (destination / "file").read_bytes() == b"another's"
