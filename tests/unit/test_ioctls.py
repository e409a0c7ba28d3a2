"""What travels by the ioctls of trees comes out as it went in, and fits."""

import pytest

from fusecopy import ioctls

SECRET = bytes(range(ioctls.SECRET_BYTES))


def test_a_tree() -> None:
    for name in (b"x", b"\xff" * ioctls.NAME_BYTES):
        call = ioctls.TreeRequest(SECRET, "reflink", name)
        assert ioctls.TreeRequest.unpack(call.pack() + bytes(100)) == call


def test_a_way_that_is_not_known() -> None:
    packed = bytearray(ioctls.TreeRequest(SECRET, "", b"x").pack())
    packed[len(SECRET)] = len(ioctls.HOWS)
    with pytest.raises(ValueError, match="3"):
        ioctls.TreeRequest.unpack(bytes(packed))


def test_an_answer_fits_its_buffer() -> None:
    answer = ioctls.Answer(28, True, 1, 2, 3, 4, 5, 6, 7, 8, b"d/\xff", "grün", "remedy")
    assert ioctls.Answer.unpack(answer.pack().ljust(ioctls.ANSWER_BYTES, b"\0")) == answer
    long = answer._replace(at=b"a" * 9999 + b"end", cause="c" * 9999, remedy="r" * 9999)
    assert len(long.pack()) <= ioctls.ANSWER_BYTES
    assert ioctls.Answer.unpack(long.pack()).at.endswith(b"end")


def test_progress() -> None:
    progress = ioctls.Progress(SECRET, 5000, 1 << 40)
    assert ioctls.Progress.unpack(progress.pack()) == progress
