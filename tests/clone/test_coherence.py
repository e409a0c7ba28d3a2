"""Written pages, maps and open readers on both sides of a clone see the right data at once."""

import mmap
import os
from pathlib import Path

import pytest

from fusecopy.clone import files
from tests.clone.running import plain, program, said, served
from tests.conftest import require
from tests.loopfs import MIB
from tests.mounted import mounted

SIZE = 16 * MIB


def test_caches_are_coherent(sharing_backing: Path) -> None:
    require("fuse", "seccomp")
    native, behind = sharing_backing / "native", sharing_backing / "served"
    native.mkdir()
    behind.mkdir()
    assert said(plain(*program("coherence.py"), cwd=native)) == ""
    with mounted(behind) as mount:
        assert said(served(*program("coherence.py"), cwd=mount.path)) == ""
        assert len(mount.copies(7)) == 7
    for name in ("a", "b"):
        assert (behind / name).read_bytes() == (native / name).read_bytes()


def test_caches_are_coherent_without_attribute_cache(btrfs: Path) -> None:
    """The server invalidates by itself, not because a timeout has run out; and the other way round."""
    require("fuse", "seccomp")
    for timeout in ("0", "3600"):
        behind = btrfs / f"timeout{timeout}"
        behind.mkdir()
        with mounted(behind, "-o", f"timeout={timeout}") as mount:
            assert said(served(*program("coherence.py"), cwd=mount.path)) == ""


@pytest.mark.parametrize("waits", [True, False], ids=["by waiting for the pages", "by FSYNC"])
def test_what_a_map_has_written_reaches_the_backing(
    btrfs: Path, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Either way it does; before Linux 6.16 the first would not be enough, and is not used."""
    require("fuse")
    if waits and not files.WRITEBACK_WAITS:
        pytest.skip("Linux 6.16 or later")
    monkeypatch.setattr(files, "WRITEBACK_WAITS", waits)
    behind = btrfs / f"written {waits}"
    behind.mkdir()
    (behind / "a").write_bytes(bytes(SIZE))
    with (
        mounted(behind) as mount,
        (mount.path / "a").open("r+b") as file,
        mmap.mmap(file.fileno(), SIZE) as map_,
    ):
        reader = os.open(mount.path / "a", os.O_RDONLY)
        for letter in (b"a", b"b", b"c"):
            map_[:] = letter * SIZE
            files.write_back(reader)
            assert (behind / "a").read_bytes() == letter * SIZE
        os.close(reader)
