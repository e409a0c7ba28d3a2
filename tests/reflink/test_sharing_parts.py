"""The comparison of two files' extents against a plain one, block by block, of files of many extents."""

import os
import random
from pathlib import Path

import pytest

from fusecopy.copying import calls, filesystems
from fusecopy.copying._native import lib
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import State, extents, parts, shared_bytes
from tests import loopfs
from tests.reflink.files import BLOCK, Pair, noise, pair

BLOCKS = 4 * lib.EXTENTS_PER_CALL
"""So that both files have more extents than two calls give."""


def disturb(files: Pair, chance: random.Random) -> None:
    """Clone pieces from one file into the other, write others anew, punch holes into both."""
    for _ in range(BLOCKS):
        at, to = chance.randrange(BLOCKS), chance.randrange(BLOCKS)
        if chance.random() < 0.7:
            to = at
        length = min(chance.randint(1, 6), BLOCKS - at, BLOCKS - to) * BLOCK
        match chance.randrange(4):
            case 0:
                os.pwrite(files.destination, noise(BLOCK, chance.randrange(1000)), to * BLOCK)
            case 1:
                calls.punch_hole(chance.choice([files.source, files.destination]), at * BLOCK, BLOCK)
            case _:
                calls.clone_range(files.source, at * BLOCK, length, files.destination, to * BLOCK)
    os.fsync(files.source)
    os.fsync(files.destination)


def places(fd: int) -> dict[int, tuple[int, bool]]:
    """Where each block lies, and whether it is shared; holes are missing."""
    return {
        (extent.logical + at) // BLOCK: (extent.physical + at, bool(extent.flags & lib.FIEMAP_EXTENT_SHARED))
        for extent in extents(fd, 0, BLOCKS * BLOCK, sync=True)
        for at in range(0, extent.length, BLOCK)
    }


def expected(source: dict[int, tuple[int, bool]], destination: dict[int, tuple[int, bool]]) -> list[State]:
    """The state of each block of the destination."""
    alike = {
        block
        for block, (place, shared) in destination.items()
        if source.get(block) == (place, shared) and shared
    }
    return [
        State.HOLE if block not in destination else State.SHARED if block in alike else State.NOT_SHARED
        for block in range(BLOCKS)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_as_block_by_block(sharing_backing: Path, seed: int) -> None:
    with pair(sharing_backing, noise(BLOCKS * BLOCK, 7), b"") as files:
        calls.clone_range(files.source, 0, BLOCKS * BLOCK, files.destination, 0)
        disturb(files, random.Random(seed))
        begins = {extent.logical for extent in extents(files.destination, 0, BLOCKS * BLOCK, sync=True)}
        assert len(begins) > lib.EXTENTS_PER_CALL
        states = expected(places(files.source), places(files.destination))
        found = parts(files.source, 0, files.destination, 0, BLOCKS * BLOCK)
        assert [part.state for part in found for _ in range(part.length // BLOCK)] == states
        assert begins <= {part.offset for part in found}
        assert [part.offset for part in found[1:]] == [part.offset + part.length for part in found[:-1]]
        assert set(states) == {State.HOLE, State.SHARED, State.NOT_SHARED}
        shared, holes = states.count(State.SHARED) * BLOCK, states.count(State.HOLE) * BLOCK
        sums = shared_bytes(files.source, 0, files.destination, 0, BLOCKS * BLOCK)
        assert sums == Sharing(shared, holes, 0, Proof.FIEMAP)


def test_a_range_beyond_all_offsets(sharing_backing: Path) -> None:
    """What the program asks for may end past the largest offset; the file's end is followed by a hole."""
    with pair(sharing_backing, b"") as files:
        for block in range(1, BLOCKS, 2):
            os.pwrite(files.source, noise(BLOCK, block), block * BLOCK)
        calls.clone_range(files.source, 0, BLOCKS * BLOCK, files.destination, 0)
        length, shared = (1 << 64) - 1, BLOCKS // 2 * BLOCK
        found = shared_bytes(files.source, BLOCK, files.destination, BLOCK, length)
        assert found == Sharing(shared, length - shared, 0, Proof.FIEMAP)


def test_one_filesystem_by_device_mount_or_table(btrfs: Path, xfs: Path, tmp_path: Path) -> None:
    """Two subvolumes differ in st_dev; mounted apart, in their mount as well."""
    volumes = [btrfs / "one-volume", btrfs / "other-volume"]
    for volume in volumes:
        loopfs.run("btrfs", "subvolume", "create", volume)
    device = loopfs.run("findmnt", "-no", "SOURCE", btrfs).strip()
    with (
        pair(volumes[0], noise(BLOCK), other=volumes[1]) as files,
        loopfs.mount(tmp_path / "apart", device, "-o", "subvol=other-volume") as apart,
        open(apart / "destination", "rb") as again,
        open(xfs / "elsewhere", "wb") as elsewhere,
    ):
        assert calls.one_filesystem(files.source, files.destination)
        assert not calls.one_filesystem(files.source, again.fileno())
        assert filesystems.same(files.source, again.fileno())
        assert not filesystems.same(files.source, elsewhere.fileno())


@pytest.mark.root
def test_a_mount_made_meanwhile_is_known(tmp_path: Path) -> None:
    with tmp_path.joinpath("before").open("w") as file:
        before = filesystems.mount_of(file.fileno())
    assert before.name != "unknown"
    odd = tmp_path / "there\rand\x85 \x0b"
    with loopfs.mount(odd, "-t", "ramfs", "none") as point, (point / "file").open("w") as file:
        assert filesystems.mount_of(file.fileno()).name == "ramfs"
