"""A copy is claimed where there is evidence of one; all else that is written is a flow."""

import subprocess
import sys

import pytest

from fusecopy.copying.contents import WHOLE
from fusecopy.dispatch.records import Copy, Flow, Record
from tests.loopfs import MIB
from tests.mount.sides import Sides
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
    "a page that is as empty as another": (
        "other = os.open('empty', os.O_RDWR); os.read(other, 8192); write('to', b'header' + bytes(8186))"
    ),
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
    "of zeros": ("os.truncate('a', 0); os.truncate('a', SIZE); write('to', read('a'))", 0, 0, SIZE),
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


FILES = {
    "a": noise(SIZE),
    "twin": noise(SIZE, seed=5),
    "b": noise(SIZE // 2, seed=6),
    "zeros": bytes(SIZE) + b"end",
    "empty": b"header" + bytes(8186),
}


def run(sides: Sides, script: str) -> list[Copy | Flow]:
    """What the log has of the directory when a program has run that writes `to`."""
    for name, data in FILES.items():
        (sides.behind / name).write_bytes(data)
    code = PROGRAM % SIZE + script
    subprocess.run([sys.executable, "-c", code], cwd=sides.mount, check=True, timeout=30)
    return told(sides, 1)


def told(sides: Sides, count: int) -> list[Copy | Flow]:
    """So many copies and flows into the directory."""
    found: list[Copy | Flow] = []

    def done(records: list[Record]) -> bool:
        here = [record for record in records if isinstance(record, Copy | Flow)]
        found[:] = [record for record in here if record.dst.startswith(f"{sides.mount.name}/")]
        return len(found) >= count

    sides.mounted.records_until(done)
    return found


@pytest.mark.parametrize("what", NO_COPIES)
def test_what_is_no_copy_is_a_flow(sides: Sides, what: str) -> None:
    assert [type(record) for record in run(sides, NO_COPIES[what])] == [Flow]


@pytest.mark.parametrize("what", COPIES)
def test_what_is_a_copy_says_of_what_and_how_it_is_known(sides: Sides, what: str) -> None:
    script, off_in, off_out, length = COPIES[what]
    (copy,) = run(sides, script)
    assert isinstance(copy, Copy)
    assert (copy.src, copy.off_in, copy.off_out, copy.copied) == (
        f"{sides.mount.name}/a",
        off_in,
        off_out,
        length,
    )
    assert (copy.dispatch, copy.evidence) == ("bypassed", "compared")
    source, destination = (sides.behind / "a").read_bytes(), (sides.behind / "to").read_bytes()
    assert destination[off_out : off_out + length] == source[off_in : off_in + length]


def test_what_is_too_large_is_sampled(btrfs_sides: Sides) -> None:
    (btrfs_sides.behind / "large").write_bytes(noise(MIB) * (WHOLE // MIB) + b"more")
    (copy,) = run(btrfs_sides, "write('to', read('large'))")
    assert isinstance(copy, Copy)
    assert (copy.copied, copy.evidence) == (WHOLE + 4, "sampled")


def test_a_destination_that_nobody_may_read_is_still_compared_by_root(btrfs_sides: Sides) -> None:
    (copy,) = run(btrfs_sides, "os.fchmod(to, 0); write('to', read('a'))")
    assert isinstance(copy, Copy)
    assert copy.evidence == "compared"


def test_reads_of_two_copies_are_counted_once(btrfs_sides: Sides) -> None:
    (btrfs_sides.behind / "a").write_bytes(noise(SIZE))
    tee = "tee one two three < a > /dev/null"
    subprocess.run(tee, shell=True, cwd=btrfs_sides.mount, check=True, timeout=30)
    copies = [record for record in told(btrfs_sides, 3) if isinstance(record, Copy)]
    assert [copy.src for copy in copies] == [f"{btrfs_sides.mount.name}/a"] * 3
    assert sum(copy.requests.read_bytes for copy in copies) == SIZE
