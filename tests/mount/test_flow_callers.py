"""Who is told to have written: each of them, by the program's name, and nobody where nobody can be seen."""

import subprocess
import sys
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Flow, Lost, Record
from tests.loopfs import MIB
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

MANY = 200
"""More than are told only when the file is closed."""

NAMED = """
import ctypes, threading
def copy():
    ctypes.CDLL(None).prctl(15, b'a thread')
    with open('a', 'rb', 0) as source, open('to', 'wb', 0) as destination:
        destination.write(source.read())
thread = threading.Thread(target=copy)
thread.start()
thread.join()
"""

THREADS = """
import os, threading
to = os.open('to', os.O_WRONLY | os.O_CREAT, 0o644)
def write(number):
    os.pwrite(to, bytes([number]) * 65536, number << 16)
threads = [threading.Thread(target=write, args=(number,)) for number in range(32)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def flows(mount: Mounted, count: int) -> list[Flow]:
    """The log's flows once there are so many; nothing may be lost."""
    found: list[Flow] = []

    def done(records: list[Record]) -> bool:
        assert not [record for record in records if isinstance(record, Lost)]
        found[:] = [record for record in records if isinstance(record, Flow)]
        return len(found) >= count

    mount.records_until(done)
    return found


def test_however_many_write_one_open_file_each_is_told(btrfs_dir: Path) -> None:
    with mounted(btrfs_dir) as mount:
        command = f"for n in $(seq {MANY}); do /bin/echo line $n; done > log; sleep 0"
        subprocess.run(["bash", "-c", command], cwd=mount.path, check=True, timeout=60)
        found = flows(mount, MANY)
    assert len({flow.pid for flow in found}) == MANY
    assert {flow.comm for flow in found} == {"echo"}
    assert sum(flow.requests.writes for flow in found) == MANY
    assert sum(flow.requests.write_bytes for flow in found) == (btrfs_dir / "log").stat().st_size


def test_those_that_have_ended_are_told_before_the_file_is_closed(btrfs_dir: Path) -> None:
    with mounted(btrfs_dir) as mount, (mount.path / "log").open("wb", 0) as log:
        for _ in range(MANY):
            subprocess.run(["/bin/echo", "line"], stdout=log, check=True, timeout=30)
        assert len(flows(mount, 50)) < MANY


def test_threads_are_their_process(btrfs_dir: Path) -> None:
    with mounted(btrfs_dir) as mount:
        subprocess.run([sys.executable, "-c", THREADS], cwd=mount.path, check=True, timeout=30)
        (flow,) = flows(mount, 1)
    assert (flow.requests.writes, flow.requests.write_bytes) == (32, 32 << 16)


def test_a_thread_with_a_name_is_told_by_the_programs(btrfs_dir: Path) -> None:
    with mounted(btrfs_dir) as mount:
        subprocess.run([sys.executable, "-c", NAMED], cwd=mount.path, check=True, timeout=30)
        (copy,) = mount.copies(1)
    assert copy.comm == Path(sys.executable).name


def test_a_loop_device_is_driven_by_the_kernel(btrfs_dir: Path) -> None:
    with mounted(btrfs_dir) as mount:
        (mount.path / "image").write_bytes(bytes(MIB))
        attached = ["losetup", "-f", "--show", str(mount.path / "image")]
        device = subprocess.run(
            attached, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
        try:
            copy = ["dd", "if=/dev/urandom", f"of={device}", "bs=64k", "count=4", "conv=fsync", "status=none"]
            subprocess.run(copy, check=True, timeout=30)
        finally:
            subprocess.run(["losetup", "-d", device], check=True, timeout=30)
        found = flows(mount, 2)
    assert {flow.driver for flow in found if flow.exe == ""} == {"kernel"}
    assert sum(flow.requests.write_bytes for flow in found if flow.driver == "kernel") == 4 << 16


COPIES = "cp a cloned && cat a | cat > to && dd if=a of=written bs=64k status=none"


@pytest.mark.parametrize("inside", [False, True])
def test_who_cannot_be_seen_is_nobody(btrfs_dir: Path, inside: bool) -> None:
    """The server is in a pid namespace, and /proc shows another one: programs outside have no number that it
    knows, those inside have one that is another process's in /proc."""
    with mounted(btrfs_dir, prefix=["unshare", "--pid", "--fork", "--kill-child=TERM"]) as mount:
        unshare = mount.process.pid
        server = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().strip()
        enter = ["nsenter", "-t", server, "-p"] if inside else []
        subprocess.run([*enter, "sh", "-c", COPIES], cwd=mount.path, check=True, timeout=30)
        records = mount.records_until(lambda found: len(_by_destination(found)) == 3)
    told = _by_destination(records)
    assert {(record.comm, record.exe) for record in told.values()} == {("?", "")}
    assert {record.driver for record in (told["to"], told["written"])} == {"unknown"}
    assert {record.pid > 0 for record in told.values()} == {inside}
    assert isinstance(told["cloned"], Copy)
    assert (told["cloned"].src, told["cloned"].dispatch) == ("a", "dispatched")


def _by_destination(records: list[Record]) -> dict[str, Copy | Flow]:
    return {record.dst: record for record in records if isinstance(record, Copy | Flow)}


@pytest.fixture
def btrfs_dir(btrfs: Path, tmp_path: Path) -> Path:
    """A fresh directory of btrfs with a file."""
    directory = btrfs / tmp_path.name
    directory.mkdir()
    (directory / "a").write_bytes(noise(MIB))
    return directory
