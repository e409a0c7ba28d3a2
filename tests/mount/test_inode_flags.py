"""Immutable and append-only files (chattr +i, +a), and swap files: what the backing refuses is refused.

The kernel has no such flags for inodes of FUSE, so what it would refuse natively it asks the server.
"""

import ctypes
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.loopfs import run
from tests.mount.sides import Sides, opened, outcome
from tests.mounted import mounted

OLD, NEW = b"o" * 8192, b"n" * 8192

libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def flagged(path: Path, flag: str) -> Iterator[None]:
    """A file with an inode flag, as chattr calls it, for as long as the block lasts."""
    run("chattr", f"+{flag}", path)
    try:
        yield
    finally:
        run("chattr", f"-{flag}", path)


def make(root: Path) -> None:
    (root / "f").write_bytes(OLD)
    (root / "source").write_bytes(NEW)


@pytest.mark.parametrize("paths", ["reflink", "splice", "readwrite", "reflink:copy_file_range:splice"])
def test_no_copy_goes_into_a_file_made_immutable_since(sharing_backing: Path, paths: str) -> None:
    """A write would: so the kernel must not be left to copy by writing."""
    make(sharing_backing)
    with (
        mounted(sharing_backing, "-o", f"paths={paths}") as mount,
        opened(mount.path / "f", os.O_WRONLY) as fd,
        opened(mount.path / "source", os.O_RDONLY) as source,
        flagged(sharing_backing / "f", "i"),
    ):
        assert outcome(lambda: os.copy_file_range(source, fd, 8192, 0, 0)) == "EPERM"
        [record] = mount.copies(1)
        assert (record.dispatch, record.errno, record.copied) == ("refused", "EPERM", 0)
        assert record.cause == "The destination is immutable (chattr +i)."
    assert (sharing_backing / "f").read_bytes() == OLD


def test_immutable_after_it_was_opened(any_sides: Sides) -> None:
    def act(root: Path) -> list[object]:
        make(root)
        with (
            opened(root / "f", os.O_RDWR) as fd,
            opened(root / "source", os.O_RDONLY) as source,
            flagged(root / "f", "i"),
        ):
            return [
                outcome(lambda: os.copy_file_range(source, fd, 8192, 0, 0)),
                outcome(lambda: os.posix_fallocate(fd, 0, 20_000)),
                outcome(lambda: os.fchmod(fd, 0o600)),
                outcome(lambda: os.unlink(root / "f")),
                outcome(lambda: os.link(root / "f", root / "g")),
                outcome(lambda: os.open(root / "f", os.O_WRONLY)),
                (root / "f").read_bytes(),
            ]

    assert any_sides.both(act) == [*["EPERM"] * 6, OLD]


def test_append_only(any_sides: Sides) -> None:
    def act(root: Path) -> list[object]:
        make(root)
        with flagged(root / "f", "a"):
            with opened(root / "f", os.O_WRONLY | os.O_APPEND) as fd:
                written = os.write(fd, NEW), os.pwrite(fd, b"end", 0)
                truncated = outcome(lambda: os.ftruncate(fd, 0))
            found = [
                truncated,
                outcome(lambda: os.open(root / "f", os.O_WRONLY)),
                outcome(lambda: os.open(root / "f", os.O_WRONLY | os.O_APPEND | os.O_TRUNC)),
                outcome(lambda: os.unlink(root / "f")),
                outcome(lambda: os.rename(root / "f", root / "g")),
            ]
            return [*found, written, (root / "f").read_bytes()]

    assert any_sides.both(act) == [*["EPERM"] * 5, (8192, 3), OLD + NEW + b"end"]


def test_append_only_after_it_was_opened(any_sides: Sides) -> None:
    def act(root: Path) -> bytes:
        make(root)
        with opened(root / "f", os.O_RDWR | os.O_APPEND) as fd, flagged(root / "f", "a"):
            os.write(fd, NEW)
            return os.pread(fd, 20_000, 0)

    assert any_sides.both(act) == OLD + NEW


def test_o_append_taken_back_from_an_append_only_file_writes_nowhere(sides: Sides) -> None:
    """Natively fcntl(2) and mmap(2) refuse it; here the kernel does not know, and the write is refused."""
    make(sides.mount)
    with flagged(sides.behind / "f", "a"):
        with opened(sides.mount / "f", os.O_RDWR | os.O_APPEND) as fd:
            fcntl.fcntl(fd, fcntl.F_SETFL, 0)
            assert outcome(lambda: os.pwrite(fd, b"x", 0)) == "EPERM"
            with mmap.mmap(fd, 8192) as pages:
                pages[0] = 1
                assert outcome(pages.flush) == "EPERM"
        assert (sides.behind / "f").read_bytes() == OLD


def test_swap_files_are_not_copied(ext4: Path) -> None:
    backing = ext4 / "swapping"
    backing.mkdir()
    make(backing)
    swap = backing / "swap"
    with opened(swap, os.O_RDWR | os.O_CREAT, 0o600) as fd:
        os.write(fd, bytes(1 << 20))
    run("mkswap", swap)
    with mounted(backing) as mount, opened(mount.path / "swap", os.O_RDWR) as fd:
        if libc.swapon(os.fsencode(swap), 0) < 0:
            pytest.skip("swapon is refused here")
        try:
            with opened(mount.path / "f", os.O_RDWR) as other:
                assert outcome(lambda: os.copy_file_range(fd, other, 4096, 0, 0)) == "ETXTBSY"
                assert outcome(lambda: os.copy_file_range(other, fd, 4096, 0, 0)) == "ETXTBSY"
        finally:
            assert libc.swapoff(os.fsencode(swap)) == 0
