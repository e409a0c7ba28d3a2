"""Sizes as people write them."""

import re

from fusecopy.errors import UsageError

SIZE = re.compile(r"(\d{1,15})([KMGTP]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
UNITS = "KMGTP"


def bytes_of(text: str) -> int:
    """A size, as 4096, 64K or 1M; units are powers of 1024. Raises UsageError."""
    found = SIZE.fullmatch(text)
    if not found:
        raise UsageError(f"{text} is not a size", "Give bytes, as 4096, 64K or 1M.")
    power = UNITS.index(found[2].upper()) + 1 if found[2] else 0
    return int(found[1]) << 10 * power
