"""Sizes, durations and table lines for people."""

import os
from collections.abc import Sequence
from typing import IO, Literal, NamedTuple

from fusecopy.terminal import printable

UNITS = "KMGTPE"

DURATIONS = (("ms", 1000, 1000), ("s", 1000, 1000), ("m", 100, 60), ("h", 100, 60), ("d", 100, 24))
"""Units of time: each is used from so many of the one before on, and is so many of them."""

Colour = Literal["auto", "always", "never"]


class Column(NamedTuple):
    """A table's column: text is set left and cut to its width, numbers are set right and never cut.

    A text column of width 0 takes what comes; the last one of a table.
    """

    title: str
    width: int
    number: bool = False


def row(columns: Sequence[Column], cells: Sequence[str]) -> str:
    """One line of a table, its cells fit for a terminal."""
    return " ".join(_fit(column, cell) for column, cell in zip(columns, cells, strict=True))


def header(columns: Sequence[Column]) -> str:
    """The line with the columns' titles."""
    return row(columns, [column.title for column in columns])


def size(count: int) -> str:
    """Bytes in at most five characters: 0, 1023, 1.0K, 64K, 8.0M. Units are powers of 1024."""
    if count < 1024:
        return str(count)
    value, power = count / 1024, 0
    while value >= 1023.5:
        value, power = value / 1024, power + 1
    return f"{value:.1f}{UNITS[power]}" if value < 9.95 else f"{value:.0f}{UNITS[power]}"


def milliseconds(microseconds: int) -> str:
    """Milliseconds with one decimal below 10."""
    value = microseconds / 1000
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def duration(microseconds: int) -> str:
    """A time in at most five characters, for ten thousand days: 412us, 31ms, 1.2s, 95s, 26m, 3.4h, 120d."""
    value, unit = float(microseconds), "us"
    for longer, most, count in DURATIONS:
        if value < most - 0.5:
            break
        value, unit = value / count, longer
    return f"{value:.1f}{unit}" if unit != "us" and value < 9.95 else f"{value:.0f}{unit}"


def rate(count: int, microseconds: int) -> str:
    """Bytes a second in at most seven characters; nothing is said of what took no time or moved nothing."""
    return f"{size(count * 1_000_000 // microseconds)}/s" if count and microseconds else "-"


def percent(part: int, whole: int) -> str:
    """A share, rounded down: 100% is said of the whole alone, and 0% of nothing alone."""
    if whole <= 0:
        return "-"
    if 0 < part * 100 < whole:
        return "<1%"
    return f"{part * 100 // whole}%"


def end_cut(text: str, width: int) -> str:
    """A sentence fit for a terminal, in so many characters: its end is left out."""
    shown = printable(text)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def middle_cut(name: str, width: int) -> str:
    """A name fit for a terminal, in so many characters: what is in the middle is left out, not its end."""
    shown = printable(name)
    if len(shown) <= width:
        return shown
    end = (width - 1) * 2 // 3
    return f"{shown[: width - 1 - end]}…{shown[len(shown) - end :]}"


def use_colour(when: Colour, stream: IO[str]) -> bool:
    """Whether to colour what goes to `stream`. NO_COLOR in the environment wins over everything."""
    if os.environ.get("NO_COLOR") or when == "never":
        return False
    return when == "always" or stream.isatty()


def _fit(column: Column, cell: str) -> str:
    cell = printable(cell)
    if column.number:
        return cell.rjust(column.width)
    return cell[: column.width].ljust(column.width) if column.width else cell
