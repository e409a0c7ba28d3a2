"""Whether one file is a copy of another, by what they hold: the evidence that a claim of a copy needs.

What is compared was just read and written, so it is mostly in memory. However large the files are, no more
than 16 MiB of each are looked at.
"""

import errno
import os
from enum import Enum

from fusecopy.copying._native import lib

WHOLE = 16 << 20
"""Bytes up to which all of a range is compared."""

NEEDLE: int = lib.FC_NEEDLE
"""Bytes by which a range is looked for."""

SAMPLE = 64 << 10
SAMPLES = WHOLE // SAMPLE
"""Of what is longer, so many pieces of so many bytes: the first, the last, and others at equal distances."""


class Evidence(str, Enum):
    """How it is known that bytes of one file came to be in another."""

    REQUEST = "request"
    """The kernel named both files: a copy request, or a clone."""

    COMPARED = "compared"
    """All of the range was compared afterwards."""

    SAMPLED = "sampled"
    """Pieces of it were."""

    CALL = "call"
    """The system call that wrote named the source. The contents could not be compared."""

    def __str__(self) -> str:
        return self.value


def compare(
    source: int, offset_in: int, destination: int, offset_out: int, length: int, poor: bool
) -> Evidence | None:
    """What a look at both ranges shows: COMPARED or SAMPLED where they are equal, None where they are not.

    Args:
        poor: they may hold hardly more than one byte over and over, as two new pages of a database do.

    Raises:
        OSError: one of them cannot be read.
    """
    return _same(source, offset_in, destination, offset_out, length, poor)


def find(
    source: int, offset_in: int, window: int, destination: int, offset_out: int, length: int
) -> tuple[int, Evidence] | None:
    """Where a range of the destination is to be found in the source, and what shows it.

    Looked for at `offset_in` and up to `window` bytes (64 KiB at most) behind it: the kernel reads whole
    pages, and ahead of what a program takes. What is hardly more than one byte over and over could be from
    anywhere and is not found.

    Raises:
        OSError: one of them cannot be read.
    """
    for at in (offset_in, _first(source, offset_in, window, destination, offset_out, length)):
        if at is not None:
            found = _same(source, at, destination, offset_out, length, poor=False)
            if found:
                return at, found
    return None


def _first(
    source: int, offset_in: int, window: int, destination: int, offset_out: int, length: int
) -> int | None:
    at = lib.fc_find_bytes(source, offset_in, window, destination, offset_out, length)
    if at == -errno.ENODATA:
        return None
    return _checked(at)


def _same(
    source: int, offset_in: int, destination: int, offset_out: int, length: int, poor: bool
) -> Evidence | None:
    if length <= WHOLE:
        found = _checked(lib.fc_same_bytes(source, offset_in, destination, offset_out, length))
        same = found == lib.FC_SAME or (poor and found == lib.FC_SAME_POOR)
        return Evidence.COMPARED if same else None
    states = set()
    for number in (0, SAMPLES - 1, *range(1, SAMPLES - 1)):
        at = (length - SAMPLE) * number // (SAMPLES - 1)
        state = _checked(lib.fc_same_bytes(source, offset_in + at, destination, offset_out + at, SAMPLE))
        if state == lib.FC_DIFFERENT:
            return None
        states.add(state)
    return Evidence.SAMPLED if poor or lib.FC_SAME in states else None


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
