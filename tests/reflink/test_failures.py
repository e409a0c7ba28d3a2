"""Copies that fail on the way, are cut short, or must not begin. What was carried counts; nothing leaks."""

import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusecopy.copying.ladder import DEFAULT, Ladder, carry
from fusecopy.copying.limits import Budget
from fusecopy.copying.records import Attempt, CopyPath
from tests import loopfs
from tests.reflink.files import BLOCK, noise, opened, pair

MIB = 1 << 20
MOVING = [CopyPath.COPY_FILE_RANGE, CopyPath.SPLICE, CopyPath.SENDFILE, CopyPath.READWRITE]


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 1 MiB, which is full to the page."""
    with loopfs.mount(tmp_path / "tmpfs", "-t", "tmpfs", "-o", "size=1m", "none") as point:
        yield point


@pytest.mark.root
@pytest.mark.parametrize("path", [CopyPath.SPLICE, CopyPath.SENDFILE, CopyPath.READWRITE])
def test_no_space_half_way_counts_what_reached_the_file(tmpfs: Path, tmp_path: Path, path: CopyPath) -> None:
    content = noise(2 * MIB)
    with pair(tmp_path, content, other=tmpfs) as files:
        outcome = carry(files.request(2 * MIB), (path,))
        assert outcome.attempts == (Attempt(path, 0, 0, 2 * MIB, MIB, errno.ENOSPC),)
        assert (outcome.copied, outcome.errno, outcome.complete) == (MIB, errno.ENOSPC, False)
        assert files.content() == content[:MIB]
        again = carry(files.request(MIB, MIB, MIB))
        assert (again.copied, again.errno) == (0, errno.ENOSPC)


@pytest.mark.loop
def test_no_space_by_copy_file_range(tmp_path: Path) -> None:
    with loopfs.mounted("ext4", tmp_path, size=16 * MIB) as small, pair(small, noise(6 * MIB)) as files:
        (small / "ballast").write_bytes(noise(4 * MIB))
        os.sync()
        outcome = carry(files.request(6 * MIB))
        assert [attempt.path for attempt in outcome.attempts] == [CopyPath.REFLINK, CopyPath.COPY_FILE_RANGE]
        assert 0 < outcome.copied < 6 * MIB
        assert (outcome.errno, outcome.complete) == (errno.ENOSPC, False)
        assert files.content()[: outcome.copied] == noise(6 * MIB)[: outcome.copied]


FILE_LIMIT = """
import resource, sys
from fusecopy.copying.ladder import carry
from fusecopy.copying.records import CopyPath
from tests.reflink.files import opened
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
with opened(Path(sys.argv[1]), Path(sys.argv[2])) as files:
    outcome = carry(files.request(200000), (CopyPath(sys.argv[3]),))
    print(outcome.copied, outcome.errno)
"""


@pytest.mark.parametrize("path", MOVING)
def test_file_size_limit(tmp_path: Path, path: CopyPath) -> None:
    """In a process of its own, as the limit is the process's."""
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.write_bytes(noise(200000))
    destination.touch()
    said = loopfs.run(sys.executable, "-c", FILE_LIMIT, source, destination, path.value)
    assert said.split() == ["100000", str(errno.EFBIG)]
    assert destination.read_bytes() == noise(200000)[:100000]


@pytest.mark.parametrize("path", MOVING)
def test_the_byte_budget_cuts_short_and_asking_again_goes_on(ext4: Path, path: CopyPath) -> None:
    content = noise(3 * MIB + 7)
    with pair(ext4, content) as files:
        done, counts = 0, []
        while done < len(content):
            outcome = carry(files.request(len(content), done, done), (path,), Budget(bytes=MIB))
            assert outcome.errno == 0
            done += outcome.copied
            counts.append((outcome.copied, outcome.complete))
        assert counts == [(MIB, False)] * 3 + [(7, True)]
        assert files.content() == content


@pytest.mark.parametrize("path", MOVING)
def test_no_time_at_all_still_does_one_chunk(ext4: Path, path: CopyPath) -> None:
    with pair(ext4, noise(40 * MIB)) as files:
        outcome = carry(files.request(40 * MIB), (path,), Budget(seconds=0))
        assert outcome.attempts[0].reason == "the budget of one call is used up"
        assert 0 < outcome.copied <= 16 * MIB
        assert (outcome.errno, outcome.complete) == (0, False)


@pytest.mark.parametrize("path", [CopyPath.REFLINK, CopyPath.DEDUPE, *MOVING])
def test_interrupted_before_anything(sharing_backing: Path, path: CopyPath) -> None:
    with pair(sharing_backing, noise(BLOCK), noise(BLOCK)) as files:
        outcome = carry(files.request(BLOCK), (path,), interrupted=lambda: True)
        assert outcome.attempts == (Attempt(path, 0, 0, BLOCK, 0, 0, "interrupted"),)
        assert (outcome.copied, outcome.errno, outcome.complete) == (0, errno.EINTR, False)


@pytest.mark.parametrize("path", MOVING)
def test_interrupted_after_a_chunk(ext4: Path, path: CopyPath) -> None:
    content = noise(40 * MIB)
    with pair(ext4, content) as files:
        # Asked before the stretch of data, before its first chunk, and before its second.
        answers = iter([False, False, True])
        outcome = carry(files.request(40 * MIB), (path,), interrupted=lambda: next(answers))
        assert 0 < outcome.copied <= 16 * MIB
        assert (outcome.errno, outcome.complete) == (0, False)
        assert files.content() == content[: outcome.copied]


@pytest.mark.parametrize("ladder", [DEFAULT, *((path,) for path in CopyPath)])
def test_at_and_past_the_sources_end(tmp_path: Path, ladder: Ladder) -> None:
    with pair(tmp_path, b"short", b"kept") as files:
        for offset in (5, 6, 1 << 40):
            outcome = carry(files.request(10, offset, 0), ladder)
            assert (outcome.attempts, outcome.copied, outcome.errno, outcome.complete) == ((), 0, 0, True)
        assert files.content() == b"kept"


@pytest.mark.parametrize(("offset_in", "offset_out"), [(0, 0), (0, 3 * BLOCK), (3 * BLOCK, 0)])
def test_overlap_in_one_file_under_two_names(backing: Path, offset_in: int, offset_out: int) -> None:
    content = noise(10 * BLOCK)
    (backing / "file").write_bytes(content)
    os.link(backing / "file", backing / "link")
    with opened(backing / "file", backing / "link") as files:
        outcome = carry(files.request(4 * BLOCK, offset_in, offset_out))
        assert (outcome.attempts, outcome.copied, outcome.errno) == ((), 0, errno.EINVAL)
        assert carry(files.request(3 * BLOCK, 0, 3 * BLOCK)).copied == 3 * BLOCK
        assert files.content() == content[: 3 * BLOCK] * 2 + content[6 * BLOCK :]


def test_append_would_write_elsewhere_and_is_refused(tmp_path: Path) -> None:
    with pair(tmp_path, b"source", b"before") as files:
        with opened(
            files.source_name, files.destination_name, flags_out=os.O_WRONLY | os.O_APPEND
        ) as appending:
            outcome = carry(appending.request(6), (CopyPath.READWRITE,))
        assert (outcome.attempts, outcome.copied, outcome.errno) == ((), 0, errno.EBADF)
        assert files.content() == b"before"


@pytest.mark.parametrize(
    ("offset_in", "offset_out", "code"),
    [(-1, 0, errno.EINVAL), (0, -1, errno.EINVAL), (0, (1 << 63) - 2, errno.EOVERFLOW)],
)
def test_impossible_offsets(tmp_path: Path, offset_in: int, offset_out: int, code: int) -> None:
    with pair(tmp_path, b"source", b"before") as files:
        outcome = carry(files.request(6, offset_in, offset_out))
        assert (outcome.attempts, outcome.errno) == ((), code)
        assert files.content() == b"before"


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with opened(tmp_path, tmp_path / "file", os.O_RDONLY) as files:
        assert carry(files.request(1)).errno == errno.EISDIR
    with opened(Path("/dev/zero"), tmp_path / "file", os.O_RDONLY) as files:
        assert carry(files.request(1)).errno == errno.EINVAL
    assert carry(files.request(1)).errno == errno.EBADF


@pytest.mark.root
def test_holes_where_none_can_be_made_are_written_as_zeros(tmp_path: Path) -> None:
    """ramfs has no fallocate."""
    name = tmp_path / "source"
    name.write_bytes(noise(BLOCK))
    os.truncate(name, 100 * BLOCK)
    with loopfs.mount(tmp_path / "ramfs", "-t", "ramfs", "none") as ramfs:
        (ramfs / "destination").write_bytes(noise(50 * BLOCK, 2))
        with opened(name, ramfs / "destination") as files:
            for path in (CopyPath.SPLICE, CopyPath.SENDFILE, CopyPath.READWRITE):
                outcome = carry(files.request(100 * BLOCK), (path,))
                assert (outcome.copied, outcome.errno) == (100 * BLOCK, 0)
                assert files.content() == name.read_bytes()


def test_no_descriptor_left_for_a_pipe(tmp_path: Path) -> None:
    content = noise(MIB)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pair(tmp_path, content) as files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files.destination + 1, hard))
        try:
            outcome = carry(files.request(MIB), (CopyPath.SPLICE, CopyPath.SENDFILE, CopyPath.READWRITE))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [(attempt.path, attempt.errno, attempt.carried) for attempt in outcome.attempts] == [
            (CopyPath.SPLICE, errno.EMFILE, 0),
            (CopyPath.SENDFILE, errno.EMFILE, 0),
            (CopyPath.READWRITE, 0, MIB),
        ]
        assert files.content() == content


def test_no_descriptor_leaks_and_no_position_moves(backing: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pair(backing, noise(MIB)) as files:
        os.lseek(files.destination, 7, os.SEEK_SET)
        for path in CopyPath:
            carry(files.request(MIB), (path,))
            carry(files.request(MIB, 1, 0), (path,), Budget(bytes=BLOCK))
            carry(files.request(MIB), (path,), interrupted=lambda: True)
        assert os.lseek(files.destination, 0, os.SEEK_CUR) == 7
        assert len(os.listdir("/proc/self/fd")) == before + 2
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path", [*MOVING, CopyPath.REFLINK])
def test_many_threads_copy_into_one_descriptor(xfs: Path, path: CopyPath) -> None:
    content = noise(4 * MIB)
    part = 64 * BLOCK
    with pair(xfs, content) as files, ThreadPoolExecutor(8) as pool:
        requests = [files.request(part, at, at) for at in range(0, len(content), part)]
        outcomes = list(pool.map(lambda request: carry(request, (path, CopyPath.READWRITE)), requests))
        assert [(outcome.copied, outcome.errno) for outcome in outcomes] == [(part, 0)] * len(requests)
        assert files.content() == content


def test_signals_do_not_disturb(tmp_path: Path) -> None:
    """Python's os functions go on after EINTR; the copy is whole."""
    content = noise(8 * MIB)
    with pair(tmp_path, content) as files:
        before = signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            outcome = carry(files.request(8 * MIB), (CopyPath.SPLICE,))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert (outcome.copied, outcome.errno, outcome.complete) == (8 * MIB, 0, True)
        assert files.content() == content
