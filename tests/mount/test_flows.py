"""Flows without a copy request: who drove them, and what they are known to be copies of."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Flow, Note, Record
from fusecopy.doctor.findings import output, version
from tests.loopfs import MIB
from tests.mount.ordinary import AS_NOBODY, nobodys_mount
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

SIZE = 2 * MIB

MAPPED = """
import mmap
with open('a', 'rb') as source, open('to', 'w+b') as destination:
    destination.truncate(SIZE)
    mapped = mmap.mmap(destination.fileno(), SIZE)
    mapped[:] = mmap.mmap(source.fileno(), SIZE, prot=mmap.PROT_READ)
    mapped.flush()
"""

THREADS = """
import queue, threading
chunks = queue.Queue()
def read():
    with open('a', 'rb', 0) as source:
        while data := source.read(65536):
            chunks.put(data)
    chunks.put(b'')
def write():
    with open('to', 'wb', 0) as destination:
        while data := chunks.get():
            destination.write(data)
threads = [threading.Thread(target=read), threading.Thread(target=write)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""

INTERLEAVED = """
with open('a', 'rb', 0) as a, open('b', 'rb', 0) as b, open('to-a', 'wb', 0) as x, open('to-b', 'wb', 0) as y:
    for _ in range(32):
        x.write(a.read(65536))
        y.write(b.read(98304))
"""

CHANGING = """
import os
source, destination = os.open('a', os.O_RDONLY), os.open('to', os.O_WRONLY | os.O_CREAT)
os.write(destination, os.pread(source, 1000, 0))
os.lseek(source, 1000, os.SEEK_SET)
while os.sendfile(destination, source, None, 1 << 20):
    pass
"""


HIDDEN = """
import ctypes
ctypes.CDLL(None).prctl(4, 0)
with open('NAME', 'wb', 0) as destination:
    destination.write(bytes(SIZE))
"""


HIDDEN_SENDFILE = """
import ctypes, os
ctypes.CDLL(None).prctl(4, 0)
with open('a', 'rb', 0) as source, open('sent', 'wb', 0) as destination:
    while os.sendfile(destination.fileno(), source.fileno(), None, 1 << 20):
        pass
"""

MANY_AT_ONCE = """
import os
pairs = [(os.open(f's{n}', os.O_RDONLY), os.open(f'd{n}', os.O_WRONLY | os.O_CREAT)) for n in range(1000)]
for source, destination in pairs:
    os.write(destination, os.read(source, 1 << 20))
for source, destination in pairs:
    os.close(destination)
for n in range(0, 1000, 2):
    os.unlink(f'd{n}')
"""


def run(mount: Mounted, script: str) -> None:
    """Run Python in the mount, in a process of its own."""
    code = script.replace("SIZE", str(SIZE))
    subprocess.run([sys.executable, "-c", code], cwd=mount.path, check=True, timeout=30)


def prepared(backing: Path, *names: str) -> None:
    """Sources, each of its own bytes."""
    for name in names:
        (backing / name).write_bytes(noise(SIZE, seed=len(name) + ord(name[0])))


@pytest.mark.parametrize(("script", "driver"), [(MAPPED, "mmap"), (THREADS, "write"), (CHANGING, "sendfile")])
def test_one_process_is_one_copy(sharing_backing: Path, script: str, driver: str) -> None:
    prepared(sharing_backing, "a")
    with mounted(sharing_backing) as mount:
        run(mount, script)
        (copy,) = mount.copies(1)
    told = (copy.src, copy.dst, copy.dispatch, copy.driver, copy.paired)
    assert told == ("a", "to", "bypassed", driver, "process")
    assert copy.exe == str(Path(sys.executable).resolve())
    assert copy.args.startswith(f"{sys.executable} -c")
    assert copy.parent > 0
    assert (sharing_backing / "to").read_bytes() == (sharing_backing / "a").read_bytes()


def test_interleaved_files_are_told_apart(sharing_backing: Path) -> None:
    prepared(sharing_backing, "a")
    (sharing_backing / "b").write_bytes(noise(3 * MIB, seed=9))
    with mounted(sharing_backing) as mount:
        run(mount, INTERLEAVED)
        copies = mount.copies(2)
    assert {(copy.src, copy.dst, copy.copied) for copy in copies} == {
        ("a", "to-a", 2 * MIB),
        ("b", "to-b", 3 * MIB),
    }


def test_a_pipeline_is_paired_by_its_process_group(sharing_backing: Path) -> None:
    prepared(sharing_backing, "a", "b")
    with mounted(sharing_backing) as mount:
        (mount.path / "out").mkdir()
        for command in ("cat a | cat > to", "tar cf - b | tar xf - -C out"):
            subprocess.run(
                command, shell=True, check=True, timeout=30, cwd=mount.path, start_new_session=True
            )
        copies = mount.copies(2)
    told = [(copy.src, copy.dst, copy.paired, copy.dispatch) for copy in copies]
    assert told == [("a", "to", "group", "bypassed"), ("b", "out/b", "group", "bypassed")]


def test_two_sessions_are_not_paired(sharing_backing: Path) -> None:
    """The same bytes at the same time, but nothing that ties the writer to the reader."""
    prepared(sharing_backing, "a")
    with mounted(sharing_backing) as mount:
        reader = subprocess.run(["cat", "a"], capture_output=True, cwd=mount.path, timeout=30, check=True)
        writer = ["setsid", "-w", "dd", "of=to", "bs=64k", "status=none"]
        subprocess.run(writer, input=reader.stdout, cwd=mount.path, timeout=30, check=True)
        records = mount.records_until(lambda found: any(isinstance(record, Flow) for record in found))
    assert not [record for record in records if isinstance(record, Copy)]


def test_a_sparse_source_is_why_cp_does_not_ask(sharing_backing: Path) -> None:
    """cp of coreutils 9.7 asks for each range of data; 9.1 for none."""
    with (sharing_backing / "a").open("wb") as source:
        source.write(noise(SIZE))
        source.truncate(8 * SIZE)
    with mounted(sharing_backing) as mount:
        subprocess.run(["cp", "a", "to"], cwd=mount.path, check=True, timeout=30)
        (copy,) = mount.copies(1)
    if version(output("cp", "--version").splitlines()[0].split()[-1]) >= (9, 7):
        assert (copy.dispatch, copy.path, copy.copied) == ("dispatched", "reflink", SIZE)
        return
    assert (copy.dispatch, copy.driver) == ("bypassed", "write")
    assert copy.cause is not None
    assert "st_blocks * 512 < st_size" in copy.cause


def test_two_mounts_are_named_with_their_devices(sharing_backing: Path) -> None:
    here, other = sharing_backing / "here", sharing_backing / "other"
    for directory in (here, other):
        directory.mkdir()
    prepared(other, "a")
    with mounted(other) as source, mounted(here) as mount:
        subprocess.run(["cp", source.path / "a", mount.path / "to"], check=True, timeout=30)
        (copy,) = mount.copies(1)
        devices = [f"0:{m.connection}" for m in (source, mount)]
    assert (copy.dispatch, copy.driver, copy.paired) == ("fallback", "copy_file_range", "call")
    assert copy.cause is not None
    assert all(device in copy.cause for device in devices)


def test_status_keeps_the_ledger(sharing_backing: Path) -> None:
    prepared(sharing_backing, "a")
    with mounted(sharing_backing, "--decline", "enosys") as mount:
        for name in ("first", "second"):
            subprocess.run(["cp", "a", name], cwd=mount.path, check=True, timeout=30)
        first, second = mount.copies(2)
        shown = subprocess.run([FUSECOPY, "status", mount.path], capture_output=True, text=True, timeout=30)
        stats = json.loads(mount.attribute("stats"))
    assert second.cause is not None
    assert second.cause.startswith(f"Record {first.seq} was answered with ENOSYS")
    assert [(entry["operation"], entry["seq"]) for entry in stats["ledger"]] == [
        ("COPY_FILE_RANGE", first.seq)
    ]
    assert f"COPY_FILE_RANGE answered ENOSYS, for good: {stats['ledger'][0]['meaning']}" in shown.stdout
    assert first.requests.copies == 2
    assert second.requests.copies == 0


def _noted(found: list[Record]) -> bool:
    return any(isinstance(record, Note) for record in found)


@pytest.mark.root
def test_without_the_right_to_look_the_driver_is_unknown_and_that_is_said_once(btrfs: Path) -> None:
    """An ordinary user's server, and that user's program that let nobody look at it (PR_SET_DUMPABLE)."""
    with nobodys_mount(btrfs) as mount:
        for name in ("one", "two"):
            code = HIDDEN.replace("NAME", name).replace("SIZE", str(SIZE))
            subprocess.run(
                [*AS_NOBODY, "env", "-C", str(mount.path), sys.executable, "-c", code], check=True, timeout=30
            )
        records = mount.records_until(lambda found: _noted(found) and len(_flows(found)) == 2)
    assert {(flow.dst, flow.driver) for flow in _flows(records)} == {("one", "unknown"), ("two", "unknown")}
    assert len([record for record in records if isinstance(record, Note)]) == 1


def _flows(found: list[Record]) -> list[Flow]:
    return [record for record in found if isinstance(record, Flow)]


def test_the_same_source_twice_into_one_file_is_two_copies(sharing_backing: Path) -> None:
    prepared(sharing_backing, "a")
    with mounted(sharing_backing, "--decline", "exdev") as mount:
        subprocess.run("cat a a > to", shell=True, cwd=mount.path, check=True, timeout=30)
        copies = mount.copies(2)
    told = [(copy.off_in, copy.off_out, copy.length, copy.copied, copy.dispatch) for copy in copies]
    assert told == [(0, 0, SIZE, SIZE, "fallback"), (0, SIZE, SIZE, SIZE, "fallback")]


@pytest.mark.root
def test_the_size_of_writes_says_what_may_not_be_looked_at(btrfs: Path) -> None:
    with nobodys_mount(btrfs) as mount:
        (mount.backing / "a").write_bytes(noise(SIZE))
        code = [*AS_NOBODY, "env", "-C", str(mount.path), sys.executable, "-c", HIDDEN_SENDFILE]
        subprocess.run(code, check=True, timeout=30)
        (copy,) = mount.copies(1)
    assert (copy.src, copy.dst, copy.dispatch, copy.driver) == ("a", "sent", "unknown", "unknown")
    assert copy.cause is not None
    assert copy.cause.endswith("as large as the kernel's pipe: copy_file_range, sendfile or splice.")


def test_many_files_closed_at_once_are_each_a_copy(btrfs: Path, tmp_path: Path) -> None:
    backing = btrfs / tmp_path.name
    backing.mkdir()
    for number in range(1000):
        (backing / f"s{number}").write_bytes(noise(100 + number, seed=number))
    with mounted(backing) as mount:
        run(mount, MANY_AT_ONCE)
        copies = mount.copies(1000)
        assert len(list(backing.iterdir())) == 1500
    assert {(copy.src, copy.dst, copy.copied) for copy in copies} == {
        (f"s{number}", f"d{number}", 100 + number) for number in range(1000)
    }
