"""A copy of 8 TiB, and two hundred copies at once."""

import filecmp
import os
import subprocess
import time
from pathlib import Path

from fusecopy.dispatch.reader import read
from fusecopy.dispatch.records import Copy, Record
from scaling.measuring import MIB, TIB, Row, Rows, client, memory, mounted_image
from tests.mounted import Mounted

SPARSE_BYTES = 8 * TIB
DATA = os.urandom(64 << 10)
"""At the beginning, the middle and the end of the sparse file; the rest of it is a hole."""

COPIES = 200
COPY_BYTES = 1 * MIB
COPIES_SECONDS = 600.0


def sparse(divisor: int) -> Rows:
    """A sparse file copied through the mount on each filesystem."""
    size = SPARSE_BYTES // divisor
    for kind in ("btrfs", "xfs", "ext4"):
        with mounted_image(kind) as mount:
            source = mount.backing / "sparse"
            _make_sparse(source, size)
            done = client("copy", mount.path / "sparse", mount.path / "copy")
            copies = mount.copies(int(done["calls"]))
            # Without reflink the data is moved, and a request may end early.
            most = 1 if kind != "ext4" else None
            yield Row(f"{kind}: copied", done["copied"] / TIB, "TiB")
            yield Row(f"{kind}: not copied", size - done["copied"], "B", 0)
            yield Row(f"{kind}: requests for it", sum(copy.requests.copies for copy in copies), "", most)
            yield Row(f"{kind}: time", done["seconds"] * 1e3, "ms")
            yield Row(f"{kind}: shared", sum(copy.shared or 0 for copy in copies) / MIB, "MiB")
            yield Row(f"{kind}: rewritten", sum(copy.rewritten or 0 for copy in copies) / MIB, "MiB")
            differing = _ranges(source) != _ranges(mount.backing / "copy")
            yield Row(f"{kind}: data or holes that differ", differing, most=0)


def _make_sparse(path: Path, size: int) -> None:
    with path.open("xb") as file:
        file.truncate(size)
        for off in (0, size // 2 // len(DATA) * len(DATA), size - len(DATA)):
            os.pwrite(file.fileno(), DATA, off)


def _ranges(path: Path) -> list[tuple[int, bytes]]:
    """What a sparse file holds: the places of its data and the data, and at last its size."""
    found: list[tuple[int, bytes]] = []
    with path.open("rb") as file:
        fd, size, off = file.fileno(), path.stat().st_size, 0
        while off < size:
            try:
                start = os.lseek(fd, off, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole up to the end
                break
            off = os.lseek(fd, start, os.SEEK_HOLE)
            found.append((start, os.pread(fd, off - start, start)))
    return [*found, (size, b"")]


def parallel(divisor: int) -> Rows:
    """Many cp at once, each of a file of its own; every result compared and every record counted."""
    number = max(2, COPIES // divisor)
    with mounted_image("btrfs") as mount:
        for n in range(number):
            (mount.backing / f"source{n}").write_bytes(os.urandom(COPY_BYTES))
        began = time.monotonic()
        failed = _copy_all(mount, number)
        ended = time.monotonic()
        yield Row("copies at once", number)
        yield Row("time for all", ended - began, "s")
        yield Row("cp that failed", failed, most=0)
        yield Row("results that differ from their source", _differing(mount.backing, number), most=0)
        names = {copy.dst for copy in mount.copies(number)}
        yield Row("copies without a record", len({f"copy{n}" for n in range(number)} - names), most=0)
        extra = sum(isinstance(record, Copy) for record in _all_records(mount)) - number
        yield Row("records too many", extra, most=0)
        yield Row("server's threads", len(os.listdir(f"/proc/{mount.process.pid}/task")))
        yield Row("resident afterwards", memory(mount.process.pid).rss / MIB, "MiB")


def _copy_all(mount: Mounted, number: int) -> int:
    """Start all cp, then wait for all; how many failed."""
    commands: list[list[str | Path]] = [
        ["cp", mount.path / f"source{n}", mount.path / f"copy{n}"] for n in range(number)
    ]
    running = [subprocess.Popen(command, start_new_session=True) for command in commands]
    deadline = time.monotonic() + COPIES_SECONDS
    try:
        return sum(process.wait(deadline - time.monotonic()) != 0 for process in running)
    finally:
        for process in running:
            process.kill()
            process.wait()


def _differing(backing: Path, number: int) -> int:
    pairs = [(backing / f"source{n}", backing / f"copy{n}") for n in range(number)]
    return sum(not filecmp.cmp(source, copy, shallow=False) for source, copy in pairs)


def _all_records(mount: Mounted) -> list[Record]:
    """The records written so far: the server writes what waits when it is asked for its log."""
    mount.attribute("log")
    return list(read(mount.log))
