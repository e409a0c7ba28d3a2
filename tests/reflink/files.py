"""A source and a destination file for one test."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusecopy.copying.records import Request

BLOCK = 4096


def noise(length: int, seed: int = 1) -> bytes:
    """Bytes that neither repeat nor compress; the same for the same seed."""
    return random.Random(seed).randbytes(length)


@dataclass(frozen=True)
class Pair:
    """Two open files and their names."""

    source: int
    destination: int
    source_name: Path
    destination_name: Path

    def request(self, length: int, offset_in: int = 0, offset_out: int = 0) -> Request:
        """A copy from one to the other."""
        return Request(self.source, self.destination, offset_in, offset_out, length)

    def content(self) -> bytes:
        """All of the destination."""
        return self.destination_name.read_bytes()


@contextmanager
def pair(
    directory: Path, source: bytes, destination: bytes = b"", other: Path | None = None
) -> Iterator[Pair]:
    """Files with the given content, written out to the disk; the destination in `other` where given."""
    names = directory / "source", (other or directory) / "destination"
    for name, content in zip(names, (source, destination), strict=True):
        name.write_bytes(content)
    with opened(*names) as files:
        os.fsync(files.source)
        os.fsync(files.destination)
        yield files


@contextmanager
def opened(
    source: Path, destination: Path, flags_in: int = os.O_RDWR, flags_out: int = os.O_RDWR
) -> Iterator[Pair]:
    """Two files that exist, open with the given flags."""
    one = os.open(source, flags_in | os.O_CLOEXEC)
    try:
        two = os.open(destination, flags_out | os.O_CLOEXEC)
        try:
            yield Pair(one, two, source, destination)
        finally:
            os.close(two)
    finally:
        os.close(one)


def pasted(destination: bytes, offset: int, piece: bytes) -> bytes:
    """What a file holds after `piece` was written into it at `offset`."""
    return destination[:offset].ljust(offset, b"\0") + piece + destination[offset + len(piece) :]
