"""What FIEMAP proves: exact numbers of shared bytes for files made to have them."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from fusecopy.copying import calls
from fusecopy.copying._native import ffi, lib
from fusecopy.copying.ladder import DEFAULT, carry
from fusecopy.copying.records import CopyPath, Proof, Sharing
from fusecopy.copying.sharing import (
    ENCODED,
    NO_PLACES,
    extents,
    parts,
    prove,
    rewritten,
    shared_bytes,
    summed,
)
from tests import loopfs
from tests.reflink.files import BLOCK, Pair, noise, opened, pair


def proven(shared: int, holes: int = 0) -> Sharing:
    return Sharing(shared, holes, 0, Proof.FIEMAP)


def compare(files: Pair, length: int) -> Sharing:
    return shared_bytes(files.source, 0, files.destination, 0, length)


def write_blocks(fd: int, blocks: Iterable[int], seed: int = 9) -> None:
    """Write the numbered blocks and have them on the disk."""
    for block in blocks:
        os.pwrite(fd, noise(BLOCK, seed + block), block * BLOCK)
    os.fsync(fd)


def clone(files: Pair, blocks: int) -> None:
    calls.clone_range(files.source, 0, blocks * BLOCK, files.destination, 0)


def prove_clones(source: int, destination: int, ranges: list[tuple[int, int, int]]) -> list[list[int]]:
    """Bytes of each range that are shared, lie in holes, and are unprovable, looked at together."""
    totals = ffi.new(f"uint64_t[{len(ranges)}][{lib.FC_STATES}]")
    given = ffi.new("struct fc_range[]", ranges)
    lib.fc_totals_of_clones(source, destination, given, len(ranges), totals)
    shown = (lib.FC_SHARED, lib.FC_HOLE, lib.FC_UNPROVABLE)
    told = ffi.cast("uint64_t *", totals)
    return [[told[number * lib.FC_STATES + state] for state in shown] for number in range(len(ranges))]


def test_many_clones_are_proven_as_one_by_one(sharing_backing: Path) -> None:
    """Neighbours or not, cut within blocks and extents, with holes, and with blocks of others."""
    sizes = [5 * BLOCK, 3 * BLOCK + 1, BLOCK - 1, 8 * BLOCK, 2 * BLOCK, 100]
    begins = [sum(sizes[:number]) for number in range(len(sizes))]
    ranges = [(at, at, size) for at, size in zip(begins, sizes, strict=True)]
    ranges += [(0, 40 * BLOCK, 10 * BLOCK), (10 * BLOCK, 60 * BLOCK, BLOCK), (11 * BLOCK, 61 * BLOCK, BLOCK)]
    with pair(sharing_backing, noise(20 * BLOCK)) as files:
        calls.punch_hole(files.source, 6 * BLOCK, 4 * BLOCK)
        clone(files, 20)
        for at, out, size in ranges[len(sizes) :]:
            calls.clone_range(files.source, at, size, files.destination, out)
        write_blocks(files.destination, [1, 4, 12, 45, 61])
        found = prove_clones(files.source, files.destination, ranges)
        alone = [shared_bytes(files.source, at, files.destination, out, size) for at, out, size in ranges]
        assert found == [[one.shared, one.holes, one.unprovable] for one in alone]
        assert found[0] == [3 * BLOCK, 0, 0]
        assert found[-2:] == [[BLOCK, 0, 0], [0, 0, 0]]


def test_clones_where_fiemap_fails_are_unprovable() -> None:
    read, write = os.pipe()
    try:
        assert prove_clones(read, write, [(0, 0, 5), (5, 5, 7)]) == [[0, 0, 5], [0, 0, 7]]
    finally:
        os.close(read)
        os.close(write)


def test_hole_at_the_end(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(10 * BLOCK)) as files:
        os.truncate(files.source_name, 20 * BLOCK)
        clone(files, 20)
        assert compare(files, 20 * BLOCK) == proven(10 * BLOCK, holes=10 * BLOCK)


def test_every_second_extent_is_another(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(20 * BLOCK)) as files:
        clone(files, 20)
        write_blocks(files.destination, range(1, 20, 2))
        assert compare(files, 20 * BLOCK) == proven(10 * BLOCK)


def test_the_last_extent_is_another(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(20 * BLOCK)) as files:
        clone(files, 20)
        write_blocks(files.destination, [19])
        assert compare(files, 20 * BLOCK) == proven(19 * BLOCK)


def test_more_holes_and_extents_than_one_call_gives(sharing_backing: Path) -> None:
    count = 2 * lib.EXTENTS_PER_CALL + 5
    with pair(sharing_backing, b"") as files:
        write_blocks(files.source, range(1, 2 * count, 2))
        clone(files, 2 * count)
        places = [extent.logical for extent in extents(files.destination, 0, 2 * count * BLOCK, sync=False)]
        assert places == [block * BLOCK for block in range(1, 2 * count, 2)]
        assert compare(files, 2 * count * BLOCK) == proven(count * BLOCK, holes=count * BLOCK)
        write_blocks(files.destination, [2 * count - 1])
        assert compare(files, 2 * count * BLOCK) == proven((count - 1) * BLOCK, holes=count * BLOCK)


def test_adjacent_blocks_in_another_order(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(4 * BLOCK)) as files:
        for source, destination in ((0, 0), (1, 2), (2, 1), (3, 3)):
            calls.clone_range(files.source, source * BLOCK, BLOCK, files.destination, destination * BLOCK)
        assert compare(files, 4 * BLOCK) == proven(2 * BLOCK)


def test_extents_merged_on_one_side_and_split_on_the_other(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(16 * BLOCK), noise(16 * BLOCK, 2)) as files:
        calls.clone_range(files.source, 3 * BLOCK, 5 * BLOCK, files.destination, 3 * BLOCK)
        assert compare(files, 16 * BLOCK) == proven(5 * BLOCK)
        assert shared_bytes(files.source, 4 * BLOCK, files.destination, 4 * BLOCK, 10 * BLOCK) == proven(
            4 * BLOCK
        )
        assert shared_bytes(files.source, 5000, files.destination, 5000, 10000) == proven(15000 - 3 * BLOCK)


def test_inline_data_is_unprovable(btrfs: Path) -> None:
    with pair(btrfs, b"x" * 100) as files:
        outcome = carry(files.request(100))
        sharing = prove(files.request(100), outcome)
        assert outcome.carried() == {CopyPath.REFLINK: 100}
        assert sharing == Sharing(0, 0, 100, Proof.FIEMAP, "inline in metadata")
        assert rewritten(outcome.copied, sharing) is None


def test_inline_data_by_copy_file_range_is_unknown(btrfs: Path) -> None:
    with pair(btrfs, b"x" * 100) as files:
        outcome = carry(files.request(100), (CopyPath.COPY_FILE_RANGE,))
        sharing = prove(files.request(100), outcome)
        assert (sharing.shared, sharing.unprovable) == (0, 100)
        assert rewritten(outcome.copied, sharing) is None


def test_small_file_of_xfs_is_shared(xfs: Path) -> None:
    with pair(xfs, b"x" * 100) as files:
        outcome = carry(files.request(100))
        assert prove(files.request(100), outcome) == proven(100)


def test_hole_before_the_extent(sharing_backing: Path) -> None:
    with pair(sharing_backing, b"", noise(4 * BLOCK)) as files:
        write_blocks(files.source, [4, 5, 6, 7])
        calls.clone_range(files.source, 4 * BLOCK, 4 * BLOCK, files.destination, 4 * BLOCK)
        assert compare(files, 8 * BLOCK) == proven(4 * BLOCK)
        clone(files, 8)
        assert compare(files, 8 * BLOCK) == proven(4 * BLOCK, holes=4 * BLOCK)


def test_flagged_shared_with_a_third_file_only(sharing_backing: Path) -> None:
    with (
        pair(sharing_backing, noise(4 * BLOCK), noise(4 * BLOCK)) as files,
        open(sharing_backing / "third", "wb") as third,
    ):
        calls.clone_range(files.source, 0, 4 * BLOCK, third.fileno(), 0)
        calls.clone_range(files.destination, 0, 4 * BLOCK, third.fileno(), 4 * BLOCK)
        assert compare(files, 4 * BLOCK) == proven(0)


def compressed(btrfs: Path, name: str) -> Path:
    """A directory whose files are compressed."""
    directory = btrfs / name
    directory.mkdir()
    loopfs.run("chattr", "+c", directory)
    return directory


WORDS = b"".join(b"%07d and again " % number for number in range(80000))
"""Compresses well and repeats nowhere."""


def test_compressed(btrfs: Path) -> None:
    """After a copy the bytes are equal, and one extent is proof; else it does not say which bytes."""
    directory, content = compressed(btrfs, "compressed"), WORDS[: 300 * BLOCK]
    with pair(directory, content) as files:
        found = extents(files.source, 0, len(content), sync=False)
        assert found
        assert all(extent.flags & lib.FIEMAP_EXTENT_ENCODED for extent in found)
        outcome = carry(files.request(len(content)))
        assert prove(files.request(len(content)), outcome) == proven(len(content))
        write_blocks(files.destination, [40])
        unknown = Sharing(0, 0, len(content) - BLOCK, Proof.FIEMAP, ENCODED)
        assert compare(files, len(content)) == unknown
        known = parts(files.source, 0, files.destination, 0, len(content))
        assert summed(known) == proven(len(content) - BLOCK)


def test_another_piece_of_one_compressed_extent(btrfs: Path) -> None:
    """FIEMAP gives both the same place."""
    directory, half = compressed(btrfs, "pieces"), 16 * BLOCK
    with pair(directory, WORDS[: 2 * half]) as files:
        calls.clone_range(files.source, half, half, files.destination, 0)
        one, other = (extents(fd, 0, half, sync=True)[0] for fd in (files.source, files.destination))
        assert (one.physical, one.logical) == (other.physical, other.logical)
        assert compare(files, half) == Sharing(0, 0, half, Proof.FIEMAP, ENCODED)
        assert summed(parts(files.source, 0, files.destination, 0, half)) == proven(0)
        assert summed(parts(files.source, half, files.destination, 0, half)) == proven(half)


def test_pieces_of_one_length_at_one_offset_of_a_compressed_extent(btrfs: Path) -> None:
    """What the source kept of its extent looks like what the destination has of it, and is not."""
    directory, half = compressed(btrfs, "halves"), 16 * BLOCK
    with pair(directory, WORDS[: 2 * half]) as files:
        calls.clone_range(files.source, half, half, files.destination, 0)
        os.ftruncate(files.source, half)
        one, other = (extents(fd, 0, half, sync=True)[0] for fd in (files.source, files.destination))
        assert (one.physical, one.length) == (other.physical, other.length)
        assert compare(files, half).shared == 0
        assert summed(parts(files.source, 0, files.destination, 0, half)) == proven(0)


def test_a_copy_within_one_compressed_extent_is_proven(btrfs: Path) -> None:
    directory, half = compressed(btrfs, "within"), 16 * BLOCK
    (directory / "file").write_bytes(WORDS[: 2 * half])
    os.sync()
    with opened(directory / "file", directory / "file") as files:
        request = files.request(half, half, 0)
        assert prove(request, carry(request, (CopyPath.REFLINK,))) == proven(half)
        assert files.content() == WORDS[half : 2 * half] * 2


def test_what_is_inline_on_one_side_only_is_not_shared(btrfs: Path) -> None:
    with pair(btrfs, b"x" * 100, noise(2 * BLOCK)) as files:
        assert compare(files, 100) == proven(0)
        os.sync()
        assert compare(files, 100) == proven(0)


@pytest.mark.root
def test_stacked_filesystems_prove_nothing(tmp_path: Path, sharing_backing: Path) -> None:
    """overlayfs answers FIEMAP with places on the device below."""
    with loopfs.stacked(tmp_path / "stacked", sharing_backing) as stacked:
        (stacked / "source").write_bytes(noise(4 * BLOCK))
        (stacked / "destination").touch()
        with opened(stacked / "source", stacked / "destination") as files:
            assert extents(files.source, 0, 4 * BLOCK, sync=True)
            request = files.request(4 * BLOCK)
            outcome = carry(request)
            assert outcome.copied == 4 * BLOCK
            unknown = Sharing(0, 0, 4 * BLOCK, Proof.UNPROVABLE, NO_PLACES)
            assert prove(request, outcome) == compare(files, 4 * BLOCK) == unknown
            assert rewritten(outcome.copied, unknown) is None
            assert summed(parts(files.source, 0, files.destination, 0, 4 * BLOCK)) == unknown
        with opened(sharing_backing / "upper" / "source", stacked / "destination") as files:
            assert compare(files, 4 * BLOCK) == unknown
            assert summed(parts(files.source, 0, files.destination, 0, 4 * BLOCK)) == unknown


@pytest.mark.parametrize(("kind", "shared"), [("btrfs", 16 * BLOCK), ("xfs", 0)])
def test_unwritten(request: pytest.FixtureRequest, kind: str, shared: int) -> None:
    """btrfs shares preallocated extents; XFS leaves holes for them."""
    with pair(request.getfixturevalue(kind), b"") as files:
        os.posix_fallocate(files.source, 0, 16 * BLOCK)
        clone(files, 16)
        assert compare(files, 16 * BLOCK) == proven(shared, holes=16 * BLOCK - shared)


def test_both_ranges_in_one_file(sharing_backing: Path) -> None:
    content = noise(8 * BLOCK)
    (sharing_backing / "file").write_bytes(content)
    with opened(sharing_backing / "file", sharing_backing / "file") as files:
        request = files.request(4 * BLOCK, 0, 4 * BLOCK)
        outcome = carry(request)
        assert prove(request, outcome) == proven(4 * BLOCK)
        assert files.content() == content[: 4 * BLOCK] * 2


def test_one_place_that_is_not_flagged_shared(backing: Path) -> None:
    """A range compared with itself: the place is equal, but nobody shares it."""
    with pair(backing, noise(8 * BLOCK)) as files:
        assert shared_bytes(files.source, 0, files.source, 0, 8 * BLOCK) == proven(0)


def test_subvolumes_share_although_st_dev_differs(btrfs: Path) -> None:
    volumes = [btrfs / "subvolume-a", btrfs / "subvolume-b"]
    for volume in volumes:
        loopfs.run("btrfs", "subvolume", "create", volume)
    with pair(volumes[0], noise(BLOCK * 4), other=volumes[1]) as files:
        assert os.fstat(files.source).st_dev != os.fstat(files.destination).st_dev
        outcome = carry(files.request(4 * BLOCK))
        assert prove(files.request(4 * BLOCK), outcome) == proven(4 * BLOCK)


def test_another_filesystem_shares_nothing(btrfs: Path, xfs: Path) -> None:
    with pair(btrfs, noise(4 * BLOCK), noise(4 * BLOCK), other=xfs) as files:
        assert compare(files, 4 * BLOCK) == Sharing(0, 0, 0, Proof.WRITTEN)


@pytest.mark.root
def test_no_fiemap_is_unprovable(tmp_path: Path) -> None:
    mount = loopfs.mount(tmp_path / "tmpfs", "-t", "tmpfs", "none")
    with mount as tmpfs, pair(tmpfs, noise(4 * BLOCK)) as files:
        request = files.request(4 * BLOCK)
        outcome = carry(request)
        sharing = prove(request, outcome)
        assert outcome.carried() == {CopyPath.COPY_FILE_RANGE: 4 * BLOCK}
        reason = "no FIEMAP: Operation not supported"
        assert sharing == Sharing(0, 0, 4 * BLOCK, Proof.UNPROVABLE, reason)
        assert rewritten(outcome.copied, sharing) is None


def test_body_shared_and_tail_rewritten(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(200000)) as files:
        request = files.request(70000)
        outcome = carry(request)
        sharing = prove(request, outcome)
        assert sharing == proven(69632)
        assert rewritten(outcome.copied, sharing) == 368


def test_copy_file_range_is_measured_by_its_own_range(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(20 * BLOCK)) as files:
        request = files.request(10 * BLOCK + 5, 100, 100)
        outcome = carry(request, (CopyPath.REFLINK, CopyPath.COPY_FILE_RANGE))
        sharing = prove(request, outcome)
        assert sharing == proven(9 * BLOCK)
        assert rewritten(outcome.copied, sharing) == BLOCK + 5


def test_copy_file_range_on_ext4_rewrites(ext4: Path) -> None:
    with pair(ext4, noise(70000)) as files:
        request = files.request(70000)
        outcome = carry(request, DEFAULT)
        sharing = prove(request, outcome)
        assert sharing == proven(0)
        assert rewritten(outcome.copied, sharing) == 70000


@pytest.mark.parametrize("path", [CopyPath.SPLICE, CopyPath.SENDFILE, CopyPath.READWRITE])
def test_moved_bytes_are_written_and_holes_are_not(backing: Path, path: CopyPath) -> None:
    with pair(backing, noise(64 << 10)) as files:
        os.truncate(files.source_name, 1 << 20)
        request = files.request(1 << 20)
        outcome = carry(request, (path,))
        sharing = prove(request, outcome)
        assert sharing == Sharing(0, (1 << 20) - (64 << 10), 0, Proof.WRITTEN)
        assert rewritten(outcome.copied, sharing) == 64 << 10
