"""A program: clones and dedupes from one directory into another and prints what came of each call.

Run natively on two directories of one filesystem and under `fusecopy run` in two mounts of them; both must
print the same. The destination is read through a reader opened before and through a map.
"""

import errno
import fcntl
import json
import mmap
import os
import struct
import sys
from pathlib import Path

FICLONE = 0x40049409
FICLONERANGE = 0x4020940D
FIDEDUPERANGE = 0xC0189436
BLOCK = 4096
SIZE = 10 * BLOCK + 100
READ, WRITE, BOTH = os.O_RDONLY, os.O_WRONLY, os.O_RDWR

there, here = Path(sys.argv[1]), Path(sys.argv[2])


def data(letter: bytes) -> bytes:
    return b"".join(letter * 8 + struct.pack("<Q", at) for at in range(SIZE // 16 + 1))[:SIZE]


def ioctl(fd: int, command: int, argument: int | bytes | bytearray) -> str:
    try:
        fcntl.ioctl(fd, command, argument)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "0"


def cloned(flags: tuple[int, int] = (READ, BOTH), span: tuple[int, int, int] | None = None) -> list[object]:
    """FICLONE, or with a span FICLONERANGE; then what is in the destination."""
    (there / "source").write_bytes(data(b"a"))
    (here / "destination").write_bytes(data(b"b"))
    source, destination = os.open(there / "source", flags[0]), os.open(here / "destination", flags[1])
    if span is None:
        result = ioctl(destination, FICLONE, source)
    else:
        result = ioctl(destination, FICLONERANGE, struct.pack("=qQQQ", source, *span))
    os.close(source)
    os.close(destination)
    found = (here / "destination").read_bytes()
    return [result, len(found), found == data(b"a"), found == data(b"b")]


def deduped(letter: bytes, flags: tuple[int, int] = (READ, BOTH), length: int = 2 * BLOCK) -> list[object]:
    (there / "source").write_bytes(data(b"a"))
    (here / "destination").write_bytes(data(letter))
    source, destination = os.open(there / "source", flags[0]), os.open(here / "destination", flags[1])
    request = bytearray(struct.pack("=QQHHIqQQiI", 0, length, 1, 0, 0, destination, 0, 0, 0, 0))
    result = ioctl(source, FIDEDUPERANGE, request)
    os.close(source)
    os.close(destination)
    return [result, struct.unpack_from("=Qi", request, 40)]


def seen() -> list[object]:
    """Whether an open reader and a map see what was written by a map and not yet to any disk."""
    (there / "source").write_bytes(data(b"a"))
    (here / "destination").write_bytes(data(b"b"))
    source, destination = os.open(there / "source", BOTH), os.open(here / "destination", BOTH)
    reader = os.open(here / "destination", READ)
    with mmap.mmap(source, SIZE) as dirty, mmap.mmap(destination, SIZE) as mapped:
        before = mapped[:] == os.pread(reader, SIZE, 0) == data(b"b")
        mapped[:BLOCK] = b"d" * BLOCK
        dirty[:] = data(b"c")
        result = ioctl(destination, FICLONE, source)
        after = mapped[:] == os.pread(reader, SIZE, 0) == data(b"c")
    for fd in (source, destination, reader):
        os.close(fd)
    return [result, before, after]


def grown() -> list[object]:
    """Its new size is there at once."""
    (there / "source").write_bytes(data(b"a"))
    (here / "grown").write_bytes(b"")
    source, destination = os.open(there / "source", READ), os.open(here / "grown", BOTH)
    assert os.fstat(destination).st_size == 0
    result = ioctl(destination, FICLONE, source)
    found = [result, os.fstat(destination).st_size, os.stat(here / "grown").st_size]
    os.close(source)
    os.close(destination)
    return [*found, (here / "grown").read_bytes() == data(b"a")]


def irregular() -> list[object]:
    """Directories and fifos on either side."""
    (there / "source").write_bytes(data(b"a"))
    for place in (there, here):
        os.mkfifo(place / "fifo")
    found = []
    for one, flags, other, others in (
        (there, READ, here / "destination", WRITE), (there / "source", READ, here, READ),
        (there / "fifo", BOTH, here / "destination", WRITE), (there / "source", READ, here / "fifo", BOTH),
    ):  # fmt: skip
        source, destination = os.open(one, flags), os.open(other, others)
        found.append(ioctl(destination, FICLONE, source))
        os.close(source)
        os.close(destination)
    return [*found]


results = {"seen at once": seen(), "grown": grown(), "whole": cloned()}
for span in (
    (0, 0, 0), (0, BLOCK, 0), (BLOCK, BLOCK, 3 * BLOCK), (100, BLOCK, 0), (0, BLOCK, 100), (0, 100, 0),
    (10 * BLOCK, 100, 10 * BLOCK), (10 * BLOCK, 100, 20 * BLOCK), (20 * BLOCK, BLOCK, 0), (0, 2**63, 0),
    (2**64 - BLOCK, BLOCK, 0), (0, BLOCK, 2**64 - BLOCK), (SIZE, 0, 0),
):  # fmt: skip
    results[f"range {span}"] = cloned(span=span)
for modes in ((WRITE, WRITE), (READ, READ), (BOTH, BOTH), (READ, WRITE | os.O_APPEND), (os.O_PATH, WRITE)):
    results[f"modes {modes}"] = cloned(modes)
results["equal"] = deduped(b"a")
results["different"] = deduped(b"b")
results["unaligned"] = deduped(b"a", length=BLOCK + 1)
results["past the end"] = deduped(b"a", length=20 * BLOCK)
for modes in ((WRITE, BOTH), (READ, READ), (READ, WRITE)):
    results[f"dedupe modes {modes}"] = deduped(b"a", modes)
results["irregular"] = irregular()
print(json.dumps(results))
