"""One file of a log, plain or compressed, as the lines that it has."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from fusecopy.dispatch.files import BEGIN_BYTES, MAGIC, begin_of
from fusecopy.errors import LogError

BLOCK_BYTES = 1 << 20
"""How much is read at once."""

LINE_LIMIT = 16 << 20
"""No record is this long; a longer line means another kind of file, which must not fill the memory."""


class Place(NamedTuple):
    """Where a line begins: the file's identity, which no rename changes, and the offset in its text."""

    device: int
    inode: int
    offset: int


class Part:
    """An open file of a log.

    Attributes:
        name: what it was opened by.
        identity: st_dev and st_ino.
        is_compressed: by gzip, which its first bytes say.
    """

    def __init__(self, name: Path) -> None:
        """Raises OSError where it cannot be opened."""
        self.name = name
        file = open(name, "rb", opener=_opened)  # noqa: SIM115 - closed by close()
        self._raw = file
        self.is_compressed = file.peek(2)[:2] == MAGIC
        self._text: IO[bytes] = gzip.GzipFile(fileobj=file) if self.is_compressed else file  # type: ignore[assignment]
        self._rest = b""  # of a line that has no end yet
        status = os.fstat(file.fileno())
        self.identity = status.st_dev, status.st_ino

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._raw.close()

    def whole_lines(self) -> bytes:
        """The next lines that are whole; nothing where there are none yet. Raises LogError."""
        blocks = [self._rest]
        while block := self._read():
            blocks.append(block)
            if b"\n" in block:
                break
            _check_length(sum(map(len, blocks)), self.name)
        text = b"".join(blocks)
        end = text.rfind(b"\n") + 1
        self._rest = text[end:]
        return text[:end]

    def skip_to(self, offset: int) -> None:
        """Go on at an offset of the text. Raises LogError."""
        with _damage_told(self.name):
            self._text.seek(offset)
        self._rest = b""

    def rewind_if_emptied(self) -> None:
        """Begin again in a file that was emptied in place, as logrotate's copytruncate does."""
        if os.fstat(self._raw.fileno()).st_size < self._raw.tell():
            self.skip_to(0)

    def lines_with(self, mark: bytes) -> Iterator[tuple[Place, bytes]]:
        """The whole lines that contain `mark`, with their places, newest first. Raises LogError."""
        return reversed(list(self._marked_lines(mark))) if self.is_compressed else self._marked_from_end(mark)

    def is_copy_of(self, other: "Part") -> bool:
        """Whether this is what the other was compressed to."""
        if not self.is_compressed or other.is_compressed:
            return False
        size = os.fstat(other._raw.fileno()).st_size % (1 << 32)
        return self._size_told() == size and self._begin() == other._begin()[:BEGIN_BYTES]

    def is_the_same_as(self, other: "Part") -> bool:
        """Whether both are one file, or this is what the other was compressed to since it was opened."""
        return self.identity == other.identity or self.is_copy_of(other)

    def changed_ns(self) -> int:
        """When it was last written, in nanoseconds since 1970; compressing it changes nothing of that."""
        return os.fstat(self._raw.fileno()).st_mtime_ns

    def _read(self) -> bytes:
        with _damage_told(self.name):
            return self._text.read(BLOCK_BYTES)

    def _begin(self) -> bytes:
        return begin_of(os.pread(self._raw.fileno(), BEGIN_BYTES, 0))

    def _size_told(self) -> int:
        """Bytes of its text, modulo 2^32, as the end of a gzip file tells (RFC 1952)."""
        size = os.fstat(self._raw.fileno()).st_size
        return int.from_bytes(os.pread(self._raw.fileno(), 4, max(0, size - 4)), "little")

    def _marked_lines(self, mark: bytes) -> Iterator[tuple[Place, bytes]]:
        """In order: a compressed file can be read in one direction only."""
        self.skip_to(0)
        begin = 0
        while block := self.whole_lines():
            for at, line in reversed(list(_marked(block, mark))):
                yield Place(*self.identity, begin + at), line
            begin += len(block)

    def _marked_from_end(self, mark: bytes) -> Iterator[tuple[Place, bytes]]:
        descriptor = self._raw.fileno()
        end = os.fstat(descriptor).st_size
        tail = b""  # the end of a line whose beginning was not read yet
        while end > 0:
            begin = max(0, end - BLOCK_BYTES)
            block = os.pread(descriptor, end - begin, begin) + tail
            cut = block.find(b"\n") + 1 if begin else 0
            if cut or not begin:
                for at, line in _marked(block[cut:], mark):
                    yield Place(*self.identity, begin + cut + at), line
                tail = block[:cut]
            else:
                tail = block
                _check_length(len(tail), self.name)
            end = begin


def _opened(path: str, flags: int) -> int:
    """A pipe has nobody at its other end; what it and other special files give is no log."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextmanager
def _damage_told(name: Path) -> Iterator[None]:
    """A file that ends too early, or is no gzip beyond its first bytes, is an error for people."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LogError(f"{name} is damaged: {error}", "Move it away to read the rest of the log.") from error


def _marked(block: bytes, mark: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and text of the block's ended lines that contain `mark`, last first."""
    begin = len(block)
    while (at := block.rfind(mark, 0, begin)) >= 0:
        begin = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at) + 1
        if end:
            yield begin, block[begin:end]


def _check_length(length: int, path: Path) -> None:
    """Raises LogError for what is longer than any record."""
    if length > LINE_LIMIT:
        raise LogError(
            f"{path} is not a dispatch log", "Name a file that fusecopy wrote, or the mount point."
        )
