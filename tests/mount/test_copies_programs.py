"""23 copies by programs that everybody has: each is told once and right; the requests are the kernel's."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Flow
from tests.loopfs import MIB
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise
from tests.tracepoints import READ, WRITE, traced

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

SIZE = 2 * MIB


@dataclass(frozen=True)
class Known:
    """A copy whose way is known beforehand: `{}` stands for the destination's name."""

    command: str
    comm: str
    dispatch: str
    driver: str
    path: str


def python(script: str) -> str:
    """A command that runs Python with the source open as s, i and the destination as d, o."""
    opened = "s, d = open('a', 'rb', 0), open('{}', 'w+b', 0); i, o = s.fileno(), d.fileno()"
    return f'{sys.executable} -c "import os, mmap, shutil; {opened}; {script}"'


OFFLOADED = ("dispatched", "copy_file_range", "reflink")
SPLICED = ("fallback", "copy_file_range", "kernel-splice")
WRITTEN = ("bypassed", "write", "client")
SENT = ("bypassed", "sendfile", "client")

PYTHON = Path(sys.executable).name
SHUTILS = OFFLOADED if sys.version_info >= (3, 14) else SENT
"""What shutil's copies ask for: copy_file_range(2) since Python 3.14, sendfile(2) before."""

SHUTIL = f"{sys.executable} -c \"import shutil; shutil.%s('a', '{{}}')\""

COPIES = [
    Known("cp a {}", "cp", *OFFLOADED),
    Known("cp -a a {}", "cp", *OFFLOADED),
    Known("cp -rT a {}", "cp", *OFFLOADED),
    Known("cp --sparse=always a {}", "cp", *WRITTEN),
    Known("cp --reflink=never a {}", "cp", *WRITTEN),
    Known("cp ../other/a {}", "cp", *SPLICED),
    Known("mv ../other/b {}", "mv", *SPLICED),
    Known("cat a > {}", "cat", *OFFLOADED),
    Known("cat < a > {}", "cat", *OFFLOADED),
    Known("install a {}", "install", *OFFLOADED),
    Known("install -m 600 a {}", "install", *OFFLOADED),
    Known("dd if=a of={} bs=64k status=none", "dd", *WRITTEN),
    Known("dd if=a of={} bs=1M status=none", "dd", *WRITTEN),
    Known("dd if=a of={} bs=4k status=none conv=fsync", "dd", *WRITTEN),
    Known("tee {} < a > /dev/null", "tee", *WRITTEN),
    Known(python("os.copy_file_range(i, o, 1 << 30)"), PYTHON, *OFFLOADED),
    Known(python("os.copy_file_range(i, o, 2 << 20, 0, 0)"), PYTHON, *OFFLOADED),
    Known(python("os.sendfile(o, i, 0, 1 << 30)"), PYTHON, *SENT),
    Known(python("shutil.copyfileobj(s, d)"), PYTHON, *WRITTEN),
    Known(python("d.write(mmap.mmap(i, 0, prot=mmap.PROT_READ))"), PYTHON, *WRITTEN),
    Known(
        python("r, w = os.pipe(); [os.splice(r, o, os.splice(i, w, 65536)) for _ in range(32)]"),
        PYTHON,
        "bypassed",
        "splice",
        "client",
    ),
    Known(SHUTIL % "copyfile", PYTHON, *SHUTILS),
    Known(SHUTIL % "copy2", PYTHON, *SHUTILS),
]


def run_all(mount: Mounted) -> None:
    """Make the copies, one after the other, in the mount."""
    for number, known in enumerate(COPIES):
        command = known.command.replace("{}", f"to{number}")
        subprocess.run(command, shell=True, check=True, timeout=30, cwd=mount.path)


def check(number: int, known: Known, copy: Copy) -> None:
    """The record is of this copy, and says what is known of it."""
    elsewhere = known.dispatch == "fallback"
    assert copy.dst == f"to{number}"
    assert copy.src.startswith("/") if elsewhere else copy.src == "a"
    told = (copy.comm, copy.dispatch, copy.driver, copy.path)
    assert told == (known.comm, known.dispatch, known.driver, known.path), known.command
    assert (copy.copied, copy.paths, copy.errno) == (SIZE, {known.path: SIZE}, None)
    shared = SIZE if known.path == "reflink" else 0
    assert (copy.shared, copy.rewritten) == (shared, SIZE - shared)


def test_23_copies_are_23_records_and_the_requests_are_the_kernels(
    sharing_backing: Path, tmp_path: Path
) -> None:
    here, other = sharing_backing / "here", sharing_backing / "other"
    for directory in (here, other):
        directory.mkdir()
        (directory / "a").write_bytes(noise(SIZE))
        (directory / "b").write_bytes(noise(SIZE))
    with (
        mounted(other, mountpoint=tmp_path / "other"),
        mounted(here, mountpoint=tmp_path / "here") as mount,
        traced(mount.connection) as trace,
    ):
        run_all(mount)
        records = mount.records_until(lambda found: sum(isinstance(r, Copy) for r in found) == len(COPIES))
        requests = trace.requests()
        copies = [record for record in records if isinstance(record, Copy)]
        assert len(copies) == 23
        assert not [record for record in records if isinstance(record, Flow)]
        for number, (known, copy) in enumerate(zip(COPIES, copies, strict=True)):
            check(number, known, copy)
        asked = sum(known.dispatch == "dispatched" for known in COPIES)
        assert sum(copy.requests.copies for copy in copies) == trace.copies() == asked
        assert sum(copy.requests.reads for copy in copies) == requests[READ]
        assert sum(copy.requests.writes for copy in copies) == requests[WRITE]
        assert json.loads(mount.attribute("stats"))["copies"] == Counter(copy.dispatch for copy in copies)
    for name in here.iterdir():
        assert name.read_bytes() == noise(SIZE), name


def test_writes_without_a_known_source_are_flows_and_no_copies(sharing_backing: Path) -> None:
    """tar writes more than it read, and printf read nothing."""
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing) as mount:
        for command in ("tar cf to2 a", "printf hello > to3"):
            subprocess.run(command, shell=True, check=True, timeout=30, cwd=mount.path)
        records = mount.records_until(lambda found: sum(isinstance(r, Flow) for r in found) == 2)
    assert not [record for record in records if isinstance(record, Copy)]
    flows = [record for record in records if isinstance(record, Flow)]
    assert [(flow.comm, flow.dst, flow.driver) for flow in flows] == [
        ("tar", "to2", "write"),
        ("sh", "to3", "write"),
    ]
    assert [flow.requests.write_bytes for flow in flows] == [
        (sharing_backing / "to2").stat().st_size,
        5,
    ]
