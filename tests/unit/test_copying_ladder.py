"""The parts of a copy that need no particular filesystem: names of ladders, pieces, limits, records."""

import pytest

from fusecopy.copying import errnos
from fusecopy.copying.blocks import Piece, split
from fusecopy.copying.holes import Segment, hole_bytes, segments
from fusecopy.copying.ladder import DEFAULT, parse_ladder
from fusecopy.copying.limits import Budget, Limits, Stop
from fusecopy.copying.moving import drain
from fusecopy.copying.records import Attempt, CopyPath, Outcome, Request
from fusecopy.errors import Exit, UsageError


def test_every_path_has_its_name() -> None:
    names = "reflink, copy_file_range,splice,sendfile ,readwrite,dedupe"
    assert parse_ladder(names) == tuple(CopyPath)
    assert DEFAULT == (CopyPath.REFLINK, CopyPath.COPY_FILE_RANGE, CopyPath.SPLICE, CopyPath.READWRITE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' in the ladder '' is not a path."),
        ("reflink,", "'' in the ladder 'reflink,' is not a path."),
        ("reflink,clone", "'clone' in the ladder 'reflink,clone' is not a path."),
        ("Reflink", "'Reflink' in the ladder 'Reflink' is not a path."),
        ("splice,splice", "'splice' comes more than once in the ladder 'splice,splice'."),
    ],
)
def test_wrong_ladders(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ladder(text)
    assert caught.value.message == message
    assert caught.value.remedy == (
        "Give one or more of reflink, copy_file_range, splice, sendfile, readwrite, dedupe, "
        "separated by commas."
    )
    assert caught.value.exit_status == Exit.USAGE


@pytest.mark.parametrize(
    ("offset_in", "offset_out", "length", "tail_too", "lengths"),
    [
        (0, 0, 70000, False, [69632, -368]),
        (0, 0, 70000, True, [70000]),
        (4096, 8192, 8192, False, [8192]),
        (100, 100, 8192, False, [-3996, 4096, -100]),
        (100, 4196, 8192, True, [-3996, 4196]),
        (100, 0, 8192, True, [-8192]),
        (0, 0, 100, True, [100]),
        (0, 0, 100, False, [-100]),
        (4000, 4000, 200, False, [-200]),
        (4000, 4000, 96, True, [-96]),
        (4000, 4000, 4191, False, [-4191]),
        (4000, 4000, 4192, False, [-96, 4096]),
    ],
)
def test_pieces(offset_in: int, offset_out: int, length: int, tail_too: bool, lengths: list[int]) -> None:
    """Negative lengths stand for pieces that cannot be shared."""
    pieces = split(Request(0, 1, offset_in, offset_out, length), 4096, tail_too)
    assert [-piece.length if piece.refused else piece.length for piece in pieces] == lengths
    assert sum(piece.length for piece in pieces) == length


def test_reasons_of_pieces() -> None:
    assert split(Request(0, 1, 1, 0, 5000), 4096, False) == [
        Piece(5000, "the offsets differ within a block of 4096")
    ]
    assert split(Request(0, 1, 0, 0, 5), 4096, False) == [Piece(5, "holds no whole block of 4096")]
    assert split(Request(0, 1, 100, 100, 8192), 4096, False) == [
        Piece(3996, "the head before the first whole block of 4096"),
        Piece(4096),
        Piece(100, "the tail after the last whole block of 4096"),
    ]


def test_the_byte_budget() -> None:
    limits = Limits(Budget(seconds=60, bytes=100), lambda: False)
    assert limits.stop() is None
    assert limits.room(70) == 70
    limits.spend(70)
    assert (limits.stop(), limits.room(70)) == (None, 30)
    limits.spend(30)
    assert (limits.stop(), limits.room(70)) == (Stop.BUDGET, 1)


def test_a_budget_of_nothing_allows_a_first_chunk() -> None:
    limits = Limits(Budget(seconds=0, bytes=0), lambda: False)
    assert limits.stop() is None
    assert limits.room(70) == 1
    limits.spend(1)
    assert limits.stop() is Stop.BUDGET


def test_interruption_goes_before_the_budget() -> None:
    limits = Limits(Budget(seconds=0), lambda: True)
    limits.spend(1)
    assert limits.stop() is limits.interruption() is Stop.INTERRUPTED


def test_drain_counts_what_was_written_before_an_error() -> None:
    def write(done: int) -> int:
        if done == 5:
            raise OSError(28, "No space left on device")
        return 5 - done if done else 3

    assert drain(write, 10) == (5, 28)
    assert drain(write, 5) == (5, 0)
    assert drain(lambda done: 0, 10) == (0, 5)


def test_segments_of_a_file_that_ends_before(tmp_path_factory: pytest.TempPathFactory) -> None:
    name = tmp_path_factory.mktemp("segments") / "file"
    with name.open("w+b") as file:
        file.write(b"x" * 4096)
        file.truncate(1 << 20)
        fd = file.fileno()
        assert list(segments(fd, 0, 1 << 30)) == [
            Segment(4096, hole=False),
            Segment((1 << 20) - 4096, hole=True),
        ]
        assert list(segments(fd, 1000, 2000)) == [Segment(2000, hole=False)]
        assert list(segments(fd, 5000, 2000)) == [Segment(2000, hole=True)]
        assert list(segments(fd, 1 << 20, 5)) == list(segments(fd, 1 << 21, 5)) == []
        assert hole_bytes(fd, 4000, 1000) == 904


def test_names_of_errnos_are_those_of_the_manual() -> None:
    assert [errnos.name(code) for code in (28, 95, 35, 9999)] == ["ENOSPC", "EOPNOTSUPP", "EDEADLK", "9999"]


def test_carried_by_path_in_order() -> None:
    attempts = (
        Attempt(CopyPath.REFLINK, 0, 0, 10, 0, 22),
        Attempt(CopyPath.SPLICE, 0, 0, 10, 10),
        Attempt(CopyPath.REFLINK, 10, 10, 5, 5),
        Attempt(CopyPath.SPLICE, 15, 15, 2, 1),
    )
    outcome = Outcome(attempts, 16, 28, complete=False)
    assert outcome.carried() == {CopyPath.SPLICE: 11, CopyPath.REFLINK: 5}
