"""Files that the backing guards, and a backing that is full: the program in the mount gets its answers."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import loopfs
from tests.clone.running import plain, program, said, served
from tests.conftest import require
from tests.loopfs import MIB
from tests.mounted import mounted
from tests.reflink.files import noise

Outcomes = list[list[object]]


@pytest.fixture(autouse=True)
def needs() -> None:
    require("fuse", "root", "loop", "seccomp")


def natively_and_served(directory: Path, *pairs: str) -> tuple[Outcomes, Outcomes, set[str | None]]:
    """What the pairs give on the backing and in a mount of it, and the errnos in the log."""
    native = json.loads(said(plain(*program("errnos.py", *pairs), cwd=directory)))
    with mounted(directory) as mount:
        found = json.loads(said(served(*program("errnos.py", *pairs), cwd=mount.path)))
        logged = {copy.errno for copy in mount.copies(2)}
    return native, found, logged


@contextmanager
def swapping(file: Path) -> Iterator[None]:
    """Swap to a new file while the block runs."""
    _allocated(file)
    file.chmod(0o600)
    loopfs.run("mkswap", file)
    loopfs.run("swapon", file)
    try:
        yield
    finally:
        loopfs.run("swapoff", file)


def _allocated(file: Path) -> None:
    """4 MiB without holes, and on btrfs NOCOW, as swapon(2) wants them there."""
    file.touch()
    subprocess.run(["chattr", "+C", file], check=False, capture_output=True)
    with file.open("wb") as opened:
        opened.write(noise(4 * MIB))
        os.fsync(opened.fileno())


def test_swap_files(sharing_backing: Path) -> None:
    _allocated(sharing_backing / "plain")
    with swapping(sharing_backing / "swap"):
        pairs = ("swap", "plain", "0", "plain", "swap", "0")
        native, found, logged = natively_and_served(sharing_backing, *pairs)
    assert found == native
    assert [row[:3] for row in native] == 2 * [["ETXTBSY", "0", [0, -errno.ETXTBSY]]]
    assert logged == {"ETXTBSY"}


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_full_disk(tmp_path: Path, kind: str) -> None:
    """btrfs wants room for data that lies in metadata and would not there; XFS has kept room for clones."""
    with loopfs.mounted(kind, tmp_path) as directory:
        (directory / "inline").write_bytes(noise(1000))
        for name in ("larger", "other"):
            (directory / name).write_bytes(noise(8192))
        for name in ("empty", "room"):
            (directory / name).touch()
        _fill(directory)
        pairs = ("inline", "larger", "8192", "inline", "empty", "4096", "other", "room", "0")
        native, found, logged = natively_and_served(directory, *pairs)
    assert found == native
    if kind == "btrfs":
        assert "ENOSPC" in [row[0] for row in native]  # which of them depends on what mkfs.btrfs laid out
        assert "ENOSPC" in logged


def _fill(directory: Path) -> None:
    os.sync()
    with (directory / "fill").open("wb") as file:
        size = 0
        for step in (64 * MIB, MIB, 4096):
            size = _extended(file.fileno(), size, step)
        os.fsync(file.fileno())


def _extended(fd: int, size: int, step: int) -> int:
    """The size, in steps, up to which there is room."""
    while True:
        try:
            os.posix_fallocate(fd, size, step)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return size
        size += step
