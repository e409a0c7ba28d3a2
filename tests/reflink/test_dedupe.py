"""The path dedupe: what is equal becomes shared, what differs is left to the next path."""

import errno
import os
from pathlib import Path

from fusecopy.copying.dedupe import CHUNK, DIFFERS
from fusecopy.copying.ladder import carry
from fusecopy.copying.records import Attempt, CopyPath
from fusecopy.copying.sharing import shared_bytes
from tests.reflink.files import BLOCK, noise, pair, pasted


def test_equal_files_become_shared_with_their_unaligned_tail(sharing_backing: Path) -> None:
    content = noise(70000)
    with pair(sharing_backing, content, content) as files:
        assert shared_bytes(files.source, 0, files.destination, 0, 70000).shared == 0
        outcome = carry(files.request(70000), (CopyPath.DEDUPE,))
        assert outcome.attempts == (Attempt(CopyPath.DEDUPE, 0, 0, 70000, 70000),)
        assert outcome.complete
        assert shared_bytes(files.source, 0, files.destination, 0, 70000).shared == 70000
        assert files.content() == content


def test_different_files_are_left_alone(sharing_backing: Path) -> None:
    before = noise(8 * BLOCK, 2)
    with pair(sharing_backing, noise(8 * BLOCK), before) as files:
        outcome = carry(files.request(8 * BLOCK), (CopyPath.DEDUPE,))
        assert outcome.attempts == (Attempt(CopyPath.DEDUPE, 0, 0, 8 * BLOCK, 0, 0, DIFFERS),)
        assert (outcome.copied, outcome.errno, outcome.complete) == (0, errno.EINVAL, False)
        assert files.content() == before


def test_a_difference_in_the_middle_leaves_the_rest_to_the_next_path(sharing_backing: Path) -> None:
    content = noise(BLOCK) * (3 * CHUNK // BLOCK)
    before = pasted(content, CHUNK + 12345, b"different")
    with pair(sharing_backing, content, before) as files:
        outcome = carry(files.request(len(content)), (CopyPath.DEDUPE, CopyPath.REFLINK))
        assert outcome.attempts == (
            Attempt(CopyPath.DEDUPE, 0, 0, len(content), CHUNK, 0, DIFFERS),
            Attempt(CopyPath.REFLINK, CHUNK, CHUNK, 2 * CHUNK, 2 * CHUNK),
        )
        assert files.content() == content


def test_a_tail_in_the_middle_of_the_files_is_not_claimed(sharing_backing: Path) -> None:
    """FIDEDUPERANGE says 10000 of 10000 there and compares and shares 8192."""
    content = noise(20000)
    before = pasted(content, 9000, b"different")
    with pair(sharing_backing, content, before) as files:
        outcome = carry(files.request(10000), (CopyPath.DEDUPE,))
        assert outcome.attempts == (
            Attempt(CopyPath.DEDUPE, 0, 0, 10000, 8192, errno.EINVAL, "the tail is not a whole block"),
        )
        assert (outcome.copied, outcome.errno) == (8192, errno.EINVAL)
        outcome = carry(files.request(10000), (CopyPath.DEDUPE, CopyPath.READWRITE))
        assert outcome.carried() == {CopyPath.DEDUPE: 8192, CopyPath.READWRITE: 1808}
        assert files.content() == content[:10000] + before[10000:]


def test_destination_too_short_goes_to_the_next_path(sharing_backing: Path) -> None:
    content = noise(4 * BLOCK)
    with pair(sharing_backing, content, content[:BLOCK]) as files:
        outcome = carry(files.request(4 * BLOCK), (CopyPath.DEDUPE, CopyPath.REFLINK))
        assert [(a.path, a.errno, a.carried) for a in outcome.attempts] == [
            (CopyPath.DEDUPE, errno.EINVAL, 0),
            (CopyPath.REFLINK, 0, 4 * BLOCK),
        ]
        assert files.content() == content


def test_interruption_between_chunks(sharing_backing: Path) -> None:
    name = sharing_backing / "source"
    with pair(sharing_backing, b"") as files:
        for file in (files.source_name, files.destination_name):
            os.truncate(file, 3 * CHUNK)
        answers = iter([False, True])
        outcome = carry(files.request(3 * CHUNK), (CopyPath.DEDUPE,), interrupted=lambda: next(answers))
        assert outcome.attempts == (Attempt(CopyPath.DEDUPE, 0, 0, 3 * CHUNK, CHUNK, 0, "interrupted"),)
        assert (outcome.copied, outcome.errno, outcome.complete) == (CHUNK, 0, False)
    assert name.stat().st_size == 3 * CHUNK
