"""Flows are counted when they are done: what failed moved nothing, and each request belongs to one record."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Flow, Record
from tests import loopfs
from tests.loopfs import MIB
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

SIZE = MIB

PIECES = """
import os
source, destination = os.open('a', os.O_RDONLY), os.open('to', os.O_WRONLY | os.O_CREAT, 0o644)
while os.copy_file_range(source, destination, 128 << 10):
    pass
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An ext4 that has no room for a copy of `a`."""
    with loopfs.mounted("ext4", tmp_path_factory.mktemp("small"), size=40 * MIB) as filesystem:
        backing = filesystem / "backing"
        backing.mkdir()
        (backing / "a").write_bytes(noise(20 * MIB))
        yield backing


@pytest.mark.parametrize(
    ("command", "decline"),
    [
        ("dd if=a of=to bs=1M status=none", ""),
        ("cat < a | cat > to", ""),
        ("cp a to", "eopnotsupp"),
        ('python3 -c \'import os; os.sendfile(os.open("to", 65), os.open("a", 0), 0, 1 << 30)\'', ""),
    ],
)
def test_what_ended_without_room_says_so_and_tells_what_there_is(
    small: Path, command: str, decline: str
) -> None:
    with mounted(small) as mount:
        mount.policy(f"decline={decline}")
        assert subprocess.run(command, shell=True, cwd=mount.path, timeout=60, stderr=subprocess.DEVNULL)
        (copy,) = mount.copies(1)
        size = (small / "to").stat().st_size
        (mount.path / "to").unlink()
    assert (copy.src, copy.dst, copy.errno) == ("a", "to", "ENOSPC")
    assert 0 < size < 20 * MIB
    assert copy.copied == copy.rewritten == copy.requests.write_bytes == size
    assert copy.cause is not None
    assert copy.cause.endswith("No space left on device.")


def test_a_flow_that_ended_without_room_says_so(small: Path) -> None:
    with mounted(small) as mount:
        subprocess.run("yes > to", shell=True, cwd=mount.path, timeout=60, stderr=subprocess.DEVNULL)
        (flow,) = _flows(mount, 1)
        size = (small / "to").stat().st_size
        (mount.path / "to").unlink()
    assert (flow.errno, flow.requests.write_bytes) == ("ENOSPC", size)


def test_each_declined_copy_has_its_own_reads(btrfs: Path, tmp_path: Path) -> None:
    backing = btrfs / tmp_path.name
    backing.mkdir()
    (backing / "a").write_bytes(noise(SIZE))
    with mounted(backing, "--decline", "eopnotsupp") as mount:
        subprocess.run([sys.executable, "-c", PIECES], cwd=mount.path, check=True, timeout=30)
        copies = mount.copies(8)
    assert [(copy.off_in, copy.copied) for copy in copies] == [(n << 17, 1 << 17) for n in range(8)]
    assert sum(copy.requests.read_bytes for copy in copies) == SIZE
    assert {copy.requests.write_bytes for copy in copies} == {1 << 17}


@pytest.mark.parametrize(
    ("command", "span"),
    [
        ("dd if=a of=to bs=64k skip=3 seek=5 count=2 conv=notrunc status=none", (3 << 16, 5 << 16, 2 << 16)),
        ("tail -c +5002 a >> to", (5001, SIZE, SIZE - 5001)),
        ("head -c 70000 a > to", (0, 0, 70000)),
        ("dd if=a of=to bs=4k iflag=skip_bytes skip=77 status=none", (77, 0, SIZE - 77)),
    ],
)
def test_a_part_is_told_with_its_place(
    btrfs: Path, tmp_path: Path, command: str, span: tuple[int, int, int]
) -> None:
    backing = btrfs / tmp_path.name
    backing.mkdir()
    (backing / "a").write_bytes(noise(SIZE))
    (backing / "to").write_bytes(bytes(SIZE))
    with mounted(backing) as mount:
        subprocess.run(command, shell=True, cwd=mount.path, check=True, timeout=30)
        (copy,) = mount.copies(1)
    assert (copy.src, copy.dst, copy.dispatch) == ("a", "to", "bypassed")
    assert (copy.off_in, copy.off_out, copy.copied) == span


def _flows(mount: Mounted, count: int) -> list[Flow]:
    found: list[Flow] = []

    def done(records: list[Record]) -> bool:
        found[:] = [record for record in records if isinstance(record, Flow)]
        return len(found) >= count and not [record for record in records if isinstance(record, Copy)]

    mount.records_until(done)
    return found
