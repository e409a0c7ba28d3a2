"""Every path on every backing: the destination reads as the model, the attempts say what carried it."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusecopy.copying.ladder import DEFAULT, Ladder, carry
from fusecopy.copying.records import Attempt, CopyPath
from tests.reflink.files import BLOCK, noise, opened, pair, pasted

LADDERS: list[Ladder] = [
    DEFAULT,
    (CopyPath.DEDUPE, CopyPath.REFLINK, CopyPath.SENDFILE),
    (CopyPath.COPY_FILE_RANGE,),
    (CopyPath.SPLICE,),
    (CopyPath.SENDFILE,),
    (CopyPath.READWRITE,),
]

OFFSETS = st.one_of(st.integers(0, 5 * BLOCK), st.sampled_from([k * BLOCK for k in range(6)]))
LENGTHS = st.one_of(st.integers(1, 5 * BLOCK), st.sampled_from([k * BLOCK for k in range(1, 6)]))

TEXTS = st.lists(st.tuples(st.booleans(), st.integers(1, 2 * BLOCK)), max_size=5)
"""A file as stretches of (hole, length)."""


def write(name: Path, stretches: list[tuple[bool, int]], seed: int) -> bytes:
    """Make a file of data and holes and return what it holds."""
    content = b""
    with name.open("wb") as file:
        for hole, length in stretches:
            piece = bytes(length) if hole else noise(length, seed + len(content))
            if not hole:
                os.pwrite(file.fileno(), piece, len(content))
            content += piece
        file.truncate(len(content))
    return content


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(LADDERS), TEXTS, TEXTS, OFFSETS, OFFSETS, LENGTHS)
def test_destination_reads_as_the_model(
    backing: Path,
    ladder: Ladder,
    source: list[tuple[bool, int]],
    destination: list[tuple[bool, int]],
    offset_in: int,
    offset_out: int,
    length: int,
) -> None:
    names = backing / "source", backing / "destination"
    before = write(names[0], source, 1), write(names[1], destination, 50000)
    piece = before[0][offset_in : offset_in + length]
    with opened(*names) as files:
        outcome = carry(files.request(length, offset_in, offset_out), ladder)
    assert (outcome.copied, outcome.errno, outcome.complete) == (len(piece), 0, True)
    assert sum(attempt.carried for attempt in outcome.attempts) == len(piece)
    assert names[1].read_bytes() == (pasted(before[1], offset_out, piece) if piece else before[1])
    assert names[0].read_bytes() == before[0]


def test_70000_bytes_of_a_larger_file(sharing_backing: Path) -> None:
    content = noise(200000)
    with pair(sharing_backing, content) as files:
        outcome = carry(files.request(70000))
        assert outcome.attempts == (
            Attempt(CopyPath.REFLINK, 0, 0, 69632, 69632),
            Attempt(
                CopyPath.REFLINK,
                69632,
                69632,
                368,
                0,
                errno.EINVAL,
                "the tail after the last whole block of 4096",
            ),
            Attempt(CopyPath.COPY_FILE_RANGE, 69632, 69632, 368, 368),
        )
        assert files.content() == content[:70000]


def test_congruent_offsets_share_the_body(sharing_backing: Path) -> None:
    content, before = noise(20 * BLOCK), noise(30 * BLOCK, 2)
    with pair(sharing_backing, content, before) as files:
        outcome = carry(files.request(10 * BLOCK, 100, 2 * BLOCK + 100), (CopyPath.REFLINK, CopyPath.SPLICE))
        assert [(a.path, a.length, a.carried) for a in outcome.attempts] == [
            (CopyPath.REFLINK, 3996, 0),
            (CopyPath.SPLICE, 3996, 3996),
            (CopyPath.REFLINK, 9 * BLOCK, 9 * BLOCK),
            (CopyPath.REFLINK, 100, 0),
            (CopyPath.SPLICE, 100, 100),
        ]
        assert outcome.carried() == {CopyPath.SPLICE: BLOCK, CopyPath.REFLINK: 9 * BLOCK}
        assert files.content() == pasted(before, 2 * BLOCK + 100, content[100 : 100 + 10 * BLOCK])


def test_offsets_that_are_not_congruent_share_nothing(sharing_backing: Path) -> None:
    content = noise(10 * BLOCK)
    with pair(sharing_backing, content) as files:
        outcome = carry(files.request(5 * BLOCK, 1, 0))
        assert outcome.attempts == (
            Attempt(
                CopyPath.REFLINK,
                1,
                0,
                5 * BLOCK,
                0,
                errno.EINVAL,
                "the offsets differ within a block of 4096",
            ),
            Attempt(CopyPath.COPY_FILE_RANGE, 1, 0, 5 * BLOCK, 5 * BLOCK),
        )
        assert files.content() == content[1 : 1 + 5 * BLOCK]


def test_unaligned_tail_at_both_ends_is_cloned(sharing_backing: Path) -> None:
    content = noise(70000)
    with pair(sharing_backing, content) as files:
        outcome = carry(files.request(1 << 40), (CopyPath.REFLINK,))
        assert outcome.attempts == (Attempt(CopyPath.REFLINK, 0, 0, 70000, 70000),)
        assert files.content() == content


def test_unaligned_tail_into_a_longer_file_goes_to_the_next_path(sharing_backing: Path) -> None:
    content, before = noise(70000), noise(100000, 2)
    with pair(sharing_backing, content, before) as files:
        outcome = carry(files.request(70000))
        assert outcome.carried() == {CopyPath.REFLINK: 69632, CopyPath.COPY_FILE_RANGE: 368}
        assert files.content() == pasted(before, 0, content)


@pytest.mark.parametrize(("length", "offset"), [(5000, 0), (100, 0), (2 * BLOCK, 1), (70000, 100)])
def test_reflink_alone_is_all_or_nothing(sharing_backing: Path, length: int, offset: int) -> None:
    before = noise(3000, 2)
    with pair(sharing_backing, noise(200000), before) as files:
        outcome = carry(files.request(length, offset, offset), (CopyPath.REFLINK,))
        assert (outcome.copied, outcome.errno, outcome.complete) == (0, errno.EINVAL, False)
        assert len(outcome.attempts) == 1
        assert files.content() == before


@pytest.mark.parametrize(
    "ladder", [(CopyPath.REFLINK,), (CopyPath.DEDUPE,), (CopyPath.DEDUPE, CopyPath.REFLINK)]
)
def test_exhausted_ladder_gives_the_last_errno(ext4: Path, btrfs: Path, ladder: Ladder) -> None:
    with pair(ext4, noise(BLOCK), noise(BLOCK)) as files:
        outcome = carry(files.request(BLOCK), ladder)
        assert (outcome.copied, outcome.errno) == (0, errno.EOPNOTSUPP)
    with pair(btrfs, noise(BLOCK), noise(BLOCK), other=ext4) as files:
        outcome = carry(files.request(BLOCK), ladder)
        assert (outcome.copied, outcome.errno) == (0, errno.EXDEV)


def test_refused_body_leaves_the_rest_undivided(ext4: Path) -> None:
    content = noise(70000)
    with pair(ext4, content) as files:
        outcome = carry(files.request(68000, 100, 100))
        assert [(a.path, a.offset_in, a.carried, a.errno) for a in outcome.attempts] == [
            (CopyPath.REFLINK, 100, 0, errno.EINVAL),
            (CopyPath.COPY_FILE_RANGE, 100, 3996, 0),
            (CopyPath.REFLINK, 4096, 0, errno.EOPNOTSUPP),
            (CopyPath.COPY_FILE_RANGE, 4096, 64004, 0),
        ]
        assert files.content() == bytes(100) + content[100:68100]


@pytest.mark.parametrize(
    "path", [CopyPath.COPY_FILE_RANGE, CopyPath.SPLICE, CopyPath.SENDFILE, CopyPath.READWRITE]
)
def test_holes_stay_holes(backing: Path, path: CopyPath) -> None:
    name = backing / "source"
    with name.open("wb") as file:
        for at in (4 << 20, 9 << 20):
            os.pwrite(file.fileno(), noise(64 << 10, at), at)
        file.truncate(16 << 20)
        os.fsync(file.fileno())
    (backing / "destination").write_bytes(noise(6 << 20, 3))
    with opened(name, backing / "destination") as files:
        outcome = carry(files.request(1 << 40), (path,))
        assert outcome.attempts == (Attempt(path, 0, 0, 16 << 20, 16 << 20),)
        os.fsync(files.destination)
        assert os.fstat(files.destination).st_blocks == os.fstat(files.source).st_blocks == 256
        assert files.content() == name.read_bytes()


def test_copy_file_range_goes_on_after_short_returns(sharing_backing: Path) -> None:
    content = noise(20000)
    with pair(sharing_backing, content) as files:
        assert os.copy_file_range(files.source, files.destination, 10000, 0, 0) == 8192
        outcome = carry(files.request(10000), (CopyPath.COPY_FILE_RANGE,))
        assert outcome.attempts == (Attempt(CopyPath.COPY_FILE_RANGE, 0, 0, 10000, 10000),)
        assert files.content() == content[:10000]


def test_reflink_ignores_the_budget_and_clones_whole(sharing_backing: Path) -> None:
    name = sharing_backing / "source"
    with name.open("wb") as file:
        file.truncate(10 << 30)
        os.pwrite(file.fileno(), b"end", (10 << 30) - 3)
    (sharing_backing / "destination").touch()
    with opened(name, sharing_backing / "destination") as files:
        outcome = carry(files.request(1 << 40), (CopyPath.REFLINK,))
        assert outcome.carried() == {CopyPath.REFLINK: 10 << 30}
        assert os.pread(files.destination, 10, (10 << 30) - 3) == b"end"
