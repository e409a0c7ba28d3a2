"""The libfuse layer: when it may be loaded, opcode 53, reads that wait, requests that vanish."""

import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from fusecopy import serving
from fusecopy.errors import FuseUnavailableError
from fusecopy.native import loader
from tests.conftest import require
from tests.mount.sides import Sides, opened
from tests.mounted import Mounted, mounted


def test_pyfuse3_imported_first_is_an_error() -> None:
    code = "import pyfuse3, fusecopy.native"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "FuseUnavailableError: pyfuse3 was imported before fusecopy.native" in done.stderr
    assert "import fusecopy.native first" in done.stderr


def test_the_command_says_so_without_a_traceback(tmp_path: Path) -> None:
    code = (
        "import sys, pyfuse3; sys.argv[1:] = ['mount', *sys.argv[1:]]; from fusecopy.cli import main; main()"
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    log = str(tmp_path / "log")
    command = [sys.executable, "-c", code, "-f", "--log", log, str(tmp_path / "a"), str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 13
    assert "Traceback" not in done.stderr


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if neither the native layer nor pyfuse3 were loaded yet."""
    for name in (loader.NATIVE, "pyfuse3"):
        monkeypatch.delitem(sys.modules, name)
    return monkeypatch


def test_big_endian_machines_are_refused(unloaded: pytest.MonkeyPatch) -> None:
    unloaded.setattr(sys, "byteorder", "big")
    with pytest.raises(FuseUnavailableError, match="big-endian"):
        loader.load()


@pytest.mark.parametrize(
    ("version", "known"), [(312, False), (313, True), (318, True), (399, True), (400, False)]
)
def test_unknown_series_of_libfuse_are_refused(
    monkeypatch: pytest.MonkeyPatch, version: int, known: bool
) -> None:
    library = SimpleNamespace(lib=SimpleNamespace(fuse_version=lambda: version))
    monkeypatch.setitem(sys.modules, loader.NATIVE, library)
    if known:
        loader._check_version()
    else:
        with pytest.raises(FuseUnavailableError, match=f"version {version // 100}.{version % 100}"):
            loader._check_version()


def test_versions_are_told() -> None:
    versions = serving.versions()
    assert versions["libfuse"].startswith("3.")
    assert versions["pyfuse3"].startswith("3.")


def test_a_copy_of_5_gib_is_one_request(btrfs: Path) -> None:
    """Linux 6.18 asks for all of it at once, with opcode 53; before, requests end at 4 GiB - 4 KiB."""
    require("fuse")
    backing = btrfs / "large"
    backing.mkdir()
    size = 5 << 30
    release = tuple(int(word) for word in os.uname().release.split("-")[0].split(".")[:2])
    with mounted(backing) as mount:
        with opened(mount.path / "a", os.O_RDWR | os.O_CREAT) as source:
            os.ftruncate(source, size)
            os.pwrite(source, b"x" * 8192, size - 8192)
            os.fsync(source)
            with opened(mount.path / "b", os.O_RDWR | os.O_CREAT) as destination:
                first = os.copy_file_range(source, destination, size)
                assert first == (size if release >= (6, 18) else 0xFFFFF000)
                if first < size:
                    assert os.copy_file_range(source, destination, size - first) == size - first
        (copy,) = mount.copies(1)
        assert (copy.copied, copy.dispatch) == (size, "dispatched")
        assert copy.requests.copies == (1 if release >= (6, 18) else 2)
        with opened(backing / "b") as destination:
            assert os.pread(destination, 8192, size - 8192) == b"x" * 8192


@pytest.fixture
def traced(ext4: Path, tmp_path: Path) -> Path:
    require("fuse")
    backing = ext4 / tmp_path.name
    backing.mkdir()
    return backing


SHORT = re.compile(r", \d{1,3}, 0\)")
"""A read of a line in /proc, to see who the caller is."""


def served(trace: Path) -> list[str]:
    """The trace from the first read that the server served; before it the program was loaded."""
    lines = trace.read_text().splitlines()
    return lines[next(number for number, line in enumerate(lines) if "RWF_NOWAIT" in line) :]


def test_cold_reads_wait_in_a_thread_and_are_right(traced: Path, tmp_path: Path) -> None:
    """64 readers at once, of files that are in no cache: preadv2 says EAGAIN and a thread reads."""
    data = {n: os.urandom(300_000) for n in range(64)}
    for n, content in data.items():
        (traced / f"f{n}").write_bytes(content)
    os.sync()
    trace = tmp_path / "trace"
    prefix = ("strace", "-f", "-qq", "-e", "trace=preadv2,pread64", "-o", str(trace))
    with mounted(traced, prefix=prefix) as mount:
        Path("/proc/sys/vm/drop_caches").write_text("3")
        with ThreadPoolExecutor(64) as pool:
            read = dict(zip(data, pool.map(lambda n: (mount.path / f"f{n}").read_bytes(), data), strict=True))
    assert read == data
    lines = served(trace)
    assert any("preadv2" in line and "RWF_NOWAIT" in line and "EAGAIN" in line for line in lines)
    slow = {line.split()[0] for line in lines if "pread64(" in line and not SHORT.search(line)}
    assert len(slow) > 1


def test_a_reader_of_warm_files_needs_no_thread(traced: Path, tmp_path: Path) -> None:
    (traced / "f").write_bytes(b"x" * 300_000)
    trace = tmp_path / "trace"
    prefix = ("strace", "-f", "-qq", "-e", "trace=preadv2,pread64", "-o", str(trace))
    with mounted(traced, prefix=prefix) as mount:
        assert (mount.path / "f").read_bytes() == b"x" * 300_000
    assert not any("pread64(" in line for line in served(trace))


def test_killed_callers_leave_nothing_behind(btrfs_mount: Mounted, btrfs_sides: Sides) -> None:
    """Their requests may be gone before the server reads them; others are answered all the same."""
    (btrfs_sides.mount / "f").write_bytes(b"x")
    command = ["sh", "-c", f"while :; do stat {btrfs_sides.mount}/nothing; cat {btrfs_sides.mount}/f; done"]
    for _ in range(30):
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        answered = threading.Event()
        (btrfs_sides.mount / "f").read_bytes()
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(20)
        answered.set()
        assert (btrfs_sides.mount / "f").stat().st_size == 1
    assert btrfs_mount.attribute("pid") == str(btrfs_mount.process.pid)
