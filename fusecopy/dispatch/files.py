"""Where the files of one log lie: FILE, and what it was rotated to, FILE.1 (the newest), FILE.2.gz and on."""

import contextlib
import re
import zlib
from pathlib import Path

GZIP = ".gz"

MAGIC = b"\x1f\x8b"
"""What a gzip file begins with (RFC 1952), whatever its name."""

BEGIN_BYTES = 64 << 10
"""More than a header has."""


def rotated(path: Path, number: int) -> Path:
    """Where the file that was rotated `number` times lies."""
    return path.with_name(f"{path.name}.{number}")


def compressed(path: Path) -> Path:
    """Where it lies compressed."""
    return path.with_name(path.name + GZIP)


def names(path: Path, number: int) -> tuple[Path, Path]:
    """Both names that it may have. Whoever looks for it looks in this order: it is compressed beside what it
    was, which goes afterwards."""
    plain = rotated(path, number)
    return plain, compressed(plain)


def numbers(path: Path) -> list[int]:
    """How many times those that exist were rotated, in order."""
    pattern = re.compile(re.escape(path.name) + r"\.([1-9]\d{0,8})(?:\.gz)?")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        found = (pattern.fullmatch(entry.name) for entry in path.parent.iterdir())
        return sorted({int(match[1]) for match in found if match})
    return []


def begin_of(data: bytes) -> bytes:
    """The text that a file begins with, by its first bytes; what only looks like gzip is as it is."""
    if not data.startswith(MAGIC):
        return data
    try:
        return zlib.decompressobj(wbits=31).decompress(data, BEGIN_BYTES)
    except zlib.error:
        return data
