"""A copy is claimed where there is evidence of one; all else that is written is a flow."""

import subprocess
import sys
from pathlib import Path

import pytest

from fusecopy.copying.contents import WHOLE
from fusecopy.dispatch.records import Copy, Flow, Record
from tests.loopfs import MIB
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

SIZE = 256 << 10

NO_COPIES = {
    "other bytes of the same size": "write('to', noise(len(read('a'))))",
    "one byte changed": "data = bytearray(read('a')); data[-5000] ^= 1; write('to', data)",
    "sorted": "write('to', bytes(sorted(read('a'))))",
    "a page of another file's": "read('a', 8192); write('to', noise(8192))",
    "a few bytes that are in it": "data = read('a'); write('to', data[:4])",
    "zeros where it has some": "data = read('zeros', 65536); write('to', bytes(65536))",
    "an archive by sendfile": "write('to', b'head' * 128); send('a', 'to'); send('b', 'to')",
    "sendfile of one, then another": "send('a', 'to'); send('b', 'to')",
    "sendfile, then more of the same size": "send('a', 'to', 65536); append('to', noise(65536))",
    "its own bytes in another order": "data = read('a'); write('to', data[4096:] + data[:4096])",
    "appended to what was there": "write('to', noise(5000)); data = read('a'); append('to', data[::-1])",
}

COPIES = {
    "written": ("write('to', read('a'))", 0, 0, SIZE),
    "a part from the middle": ("data = read('a', 40960, 81920); write('to', data)", 81920, 0, 40960),
    "from an odd place to an odd place": (
        "data = read('a', None, 5001); write('to', data, 77)",
        5001,
        77,
        SIZE - 5001,
    ),
    "written in pieces backwards": (
        "data = read('a'); [write('to', data[n : n + 4096], n) for n in reversed(range(0, SIZE, 4096))]",
        0,
        0,
        SIZE,
    ),
    "written twice": ("data = read('a'); write('to', data); write('to', data)", 0, 0, SIZE),
    "sent from the middle": ("send('a', 'to', 65536, 131072)", 131072, 0, 65536),
    "of two alike the one that was read": ("read('twin'); write('to', read('a'))", 0, 0, SIZE),
}

PROGRAM = """
import os
from random import Random
SIZE = %d
noise = lambda size: Random(7).randbytes(size)
to = os.open('to', os.O_RDWR | os.O_CREAT, 0o644)
def read(name, size=None, offset=0):
    with open(name, 'rb', 0) as file:
        file.seek(offset)
        return file.read() if size is None else file.read(size)
def write(name, data, offset=0):
    assert os.pwrite(to, data, offset) == len(data)
def append(name, data):
    write(name, data, os.fstat(to).st_size)
def send(source, name, size=1 << 20, offset=0):
    os.lseek(to, 0, os.SEEK_END)
    with open(source, 'rb', 0) as file:
        while size and (sent := os.sendfile(to, file.fileno(), offset, size)):
            size, offset = size - sent, offset + sent
"""


def run(mount: Mounted, script: str) -> list[Copy | Flow]:
    """What the log has of the file `to` when a program has run."""
    subprocess.run([sys.executable, "-c", PROGRAM % SIZE + script], cwd=mount.path, check=True, timeout=30)
    return [record for record in mount.records_until(_told) if isinstance(record, Copy | Flow)]


def _told(found: list[Record]) -> bool:
    return any(isinstance(record, Copy | Flow) and record.dst == "to" for record in found)


@pytest.fixture
def filled(backing: Path) -> Path:
    (backing / "a").write_bytes(noise(SIZE))
    (backing / "twin").write_bytes(noise(SIZE, seed=5))
    (backing / "b").write_bytes(noise(SIZE // 2, seed=6))
    (backing / "zeros").write_bytes(bytes(SIZE) + b"end")
    return backing


@pytest.mark.parametrize("what", NO_COPIES)
def test_what_is_no_copy_is_a_flow(filled: Path, what: str) -> None:
    with mounted(filled) as mount:
        records = run(mount, NO_COPIES[what])
    assert [(type(record), record.dst) for record in records] == [(Flow, "to")]


@pytest.mark.parametrize("what", COPIES)
def test_what_is_a_copy_says_of_what_and_how_it_is_known(filled: Path, what: str) -> None:
    script, off_in, off_out, length = COPIES[what]
    with mounted(filled) as mount:
        (copy,) = run(mount, script)
    assert isinstance(copy, Copy)
    assert (copy.src, copy.off_in, copy.off_out, copy.copied) == ("a", off_in, off_out, length)
    assert (copy.dispatch, copy.evidence) == ("bypassed", "compared")
    source, destination = (filled / "a").read_bytes(), (filled / "to").read_bytes()
    assert destination[off_out : off_out + length] == source[off_in : off_in + length]


def test_what_is_too_large_is_sampled(btrfs: Path, tmp_path: Path) -> None:
    backing = btrfs / tmp_path.name
    backing.mkdir()
    (backing / "a").write_bytes(noise(MIB) * (WHOLE // MIB) + b"more")
    with mounted(backing) as mount:
        (copy,) = run(mount, "write('to', read('a'))")
    assert isinstance(copy, Copy)
    assert (copy.src, copy.copied, copy.evidence) == ("a", WHOLE + 4, "sampled")


def test_an_unreadable_destination_is_still_compared_by_root(filled: Path) -> None:
    with mounted(filled) as mount:
        (copy,) = run(mount, "os.fchmod(to, 0); write('to', read('a'))")
    assert isinstance(copy, Copy)
    assert (copy.src, copy.evidence) == ("a", "compared")


def test_comparing_leaves_no_access_time(filled: Path) -> None:
    with mounted(filled, "-o", "noatime") as mount:
        before = (filled / "a").stat().st_atime_ns
        run(mount, "write('to', read('a'))")
        assert (filled / "a").stat().st_atime_ns == before


def test_reads_of_two_copies_are_counted_once(filled: Path) -> None:
    with mounted(filled) as mount:
        subprocess.run(
            "tee one two three < a > /dev/null", shell=True, cwd=mount.path, check=True, timeout=30
        )
        copies = mount.copies(3)
    assert {(copy.src, copy.dst) for copy in copies} == {("a", name) for name in ("one", "two", "three")}
    assert sum(copy.requests.read_bytes for copy in copies) == SIZE
