"""Sizes, durations and shares as people read them."""

import pytest

from fusecopy.terminal import printable
from fusecopy.views.format import duration, milliseconds, percent, rate, size


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0K"),
        (10188, "9.9K"),
        (10189, "10K"),
        (65536, "64K"),
        (1023 << 10, "1023K"),
        ((1024 << 10) - 1, "1.0M"),
        (8 << 20, "8.0M"),
        (1 << 40, "1.0T"),
        ((1 << 63) - 1, "8.0E"),
    ],
)
def test_size(count: int, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("us", "shown"), [(0, "0.0"), (412, "0.4"), (9949, "9.9"), (9950, "10"), (31000, "31")]
)
def test_milliseconds(us: int, shown: str) -> None:
    assert milliseconds(us) == shown


@pytest.mark.parametrize(
    ("us", "shown"),
    [
        (0, "0us"),
        (999, "999us"),
        (1000, "1.0ms"),
        (9950, "10ms"),
        (999_499, "999ms"),
        (999_500, "1.0s"),
        (99_400_000, "99s"),
        (99_500_000, "1.7m"),
        (3_600_000_000, "60m"),
        (360_000_000_000, "4.2d"),
        (1 << 53, "104250d"),
    ],
)
def test_duration(us: int, shown: str) -> None:
    assert duration(us) == shown


@pytest.mark.parametrize(
    ("count", "us", "shown"),
    [(0, 5, "-"), (5, 0, "-"), (1 << 20, 1_000_000, "1.0M/s"), (8 << 20, 31, "252G/s")],
)
def test_rate(count: int, us: int, shown: str) -> None:
    assert rate(count, us) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 0, "-"), (0, 9, "0%"), (1, 1000, "<1%"), (10, 1000, "1%"), (999, 1000, "99%"), (1000, 1000, "100%")],
)
def test_percent(part: int, whole: int, shown: str) -> None:
    assert percent(part, whole) == shown


def test_printable_escapes_what_a_terminal_obeys() -> None:
    assert printable("grün \x1b]0;\u202e\udcff") == "grün \\x1b]0;\\u202e\\udcff"
