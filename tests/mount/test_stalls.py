"""Requests that wait for a slow backing, however many, do not keep others from their answers."""

import fcntl
import json
import mmap
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests import mounted as tests_mounted
from tests.mount.sides import opened
from tests.mount.test_loop import lease_breaks_ignored, leased, open_all  # noqa: F401
from tests.mounted import Mounted, mounted

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.loop,
]

FIFREEZE, FITHAW = 0xC0045877, 0xC0045878

READ, WRITE = "15", "16"
"""Opcodes."""

ANSWER_SECONDS = 20.0

FEW_THREADS = """
from fusecopy.serving import session
session.LOOP_THREADS = 4
from fusecopy.cli import main
main()
"""

T = TypeVar("T")


@pytest.fixture
def backing(ext4: Path, tmp_path: Path) -> Path:
    directory = ext4 / tmp_path.name
    directory.mkdir()
    return directory


@contextmanager
def frozen(filesystem: Path) -> Iterator[None]:
    """Nobody may change the filesystem: who tries waits until the context ends."""
    with opened(filesystem, os.O_RDONLY) as descriptor:
        fcntl.ioctl(descriptor, FIFREEZE, 0)
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, FITHAW, 0)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def answered(act: Callable[[], T], pool: ThreadPoolExecutor) -> T:
    """What `act` returns; fails where it has to wait."""
    return pool.submit(act).result(ANSWER_SECONDS)


def await_requests(mount: Mounted, opcode: str, count: int) -> None:
    """Wait until so many requests of a kind are being served."""
    for _ in range(100_000):
        if json.loads(mount.attribute("stats"))["requests"].get(opcode, 0) >= count:
            return
    raise AssertionError(f"the server has not begun {count} requests of opcode {opcode}")


def look_around(mount: Mounted, files: list[str]) -> None:
    """What takes no change of the backing: reads, listings, attributes, names that are there or are not."""
    for name in files:
        assert (mount.path / name).read_bytes() == b"read me"
        os.stat(mount.path / name)
    assert set(files) <= set(os.listdir(mount.path))
    for number in range(20):
        assert not (mount.path / f"absent{number}").exists()
    os.statvfs(mount.path)
    assert mount.attribute("pid") == str(mount.process.pid)


@pytest.mark.parametrize("writers", [300, 700])
def test_writers_of_a_frozen_backing(ext4: Path, backing: Path, writers: int) -> None:
    files = [f"read{number}" for number in range(20)]
    for name in files:
        (backing / name).write_bytes(b"read me")
    with mounted(backing) as mount, ThreadPoolExecutor(writers + 1) as pool, ExitStack() as stack:
        flags = os.O_WRONLY | os.O_CREAT
        descriptors = [stack.enter_context(opened(mount.path / f"w{n}", flags)) for n in range(writers)]
        with frozen(ext4):
            waiting = [pool.submit(os.write, descriptor, b"written") for descriptor in descriptors]
            answered(lambda: await_requests(mount, WRITE, 256), pool)
            answered(lambda: look_around(mount, files), pool)
            assert not any(future.done() for future in waiting)
        assert all(future.result(60) == len(b"written") for future in waiting)
    assert {(backing / f"w{number}").read_bytes() for number in range(writers)} == {b"written"}


def change_by_name(directory: Path, number: int) -> None:
    acts: list[Callable[[], object]] = [
        (directory / "made").mkdir,
        (directory / "made").touch,
        (directory / "old").unlink,
        lambda: os.truncate(directory / "old", 0),
        lambda: (directory / "old").rename(directory / "made"),
        lambda: os.link(directory / "old", directory / "made"),
    ]
    acts[number % len(acts)]()


def test_every_kind_of_change_of_a_frozen_backing(ext4: Path, backing: Path) -> None:
    """Each in a directory of its own: the kernel lets nobody look up names in one that is being changed."""
    for number in range(300):
        (backing / f"d{number}").mkdir()
        (backing / f"d{number}" / "old").write_bytes(b"old")
    files = ["one", "two"]
    for name in files:
        (backing / name).write_bytes(b"read me")
    with mounted(backing) as mount, ThreadPoolExecutor(301) as pool:
        with frozen(ext4):
            waiting = [pool.submit(change_by_name, mount.path / f"d{n}", n) for n in range(300)]
            answered(lambda: look_around(mount, files), pool)
            assert not any(future.done() for future in waiting)
        for future in waiting:
            future.result(60)
    made = {n % 6 for n in range(300) if (backing / f"d{n}" / "made").exists()}
    left = {n % 6 for n in range(300) if (backing / f"d{n}" / "old").exists()}
    assert (made, left) == ({0, 1, 4, 5}, {0, 1, 3, 5})


def test_mapped_pages_that_cannot_be_written_back(ext4: Path, backing: Path) -> None:
    """The kernel keeps both these WRITEs and reads ahead in one queue of limited length."""
    files = [f"read{number}" for number in range(20)]
    for name in files:
        (backing / name).write_bytes(b"read me")
    with mounted(backing) as mount, ThreadPoolExecutor(60) as pool, ExitStack() as stack:
        maps = {}
        for number in range(40):
            path = mount.path / f"mapped{number}"
            descriptor = stack.enter_context(opened(path, os.O_RDWR | os.O_CREAT))
            os.truncate(descriptor, 4096)
            maps[descriptor] = stack.enter_context(mmap.mmap(descriptor, 4096))
        with frozen(ext4):
            for mapped in maps.values():
                mapped[:4] = b"told"
            waiting = [pool.submit(os.fsync, descriptor) for descriptor in maps]
            answered(lambda: await_requests(mount, WRITE, 40), pool)
            answered(lambda: look_around(mount, files), pool)
        for future in waiting:
            future.result(60)
    assert {(backing / f"mapped{number}").read_bytes()[:4] for number in range(40)} == {b"told"}


def test_readers_of_a_slow_backing(btrfs: Path, tmp_path: Path) -> None:
    """A backing that answers nothing new for a while: the mount of a stopped server."""
    directory = btrfs / tmp_path.name
    directory.mkdir()
    for number in range(300):
        (directory / f"cold{number}").write_bytes(b"%03d" % number)
    with ExitStack() as stack:
        slow = stack.enter_context(mounted(directory))
        mount = stack.enter_context(mounted(slow.path, "--coherent"))
        with ThreadPoolExecutor(301) as pool:
            os.listdir(slow.path)
            paths = [mount.path / f"cold{number}" for number in range(300)]
            descriptors = [stack.enter_context(opened(path)) for path in paths]
            with stopped(slow.process.pid):
                waiting = [pool.submit(os.pread, descriptor, 3, 0) for descriptor in descriptors]
                answered(lambda: await_requests(mount, READ, 300), pool)
                for _ in range(100):
                    answered(lambda: [os.stat(path) for path in paths], pool)
                assert not any(future.done() for future in waiting)
            assert [future.result(60) for future in waiting] == [b"%03d" % n for n in range(300)]


@pytest.mark.usefixtures("lease_breaks_ignored")
def test_the_last_thread_waits_for_nothing(
    btrfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "fusecopy"
    script.write_text(f"#!{sys.executable}\n{FEW_THREADS}")
    script.chmod(0o755)
    monkeypatch.setattr(tests_mounted, "FUSECOPY", str(script))
    directory = btrfs / tmp_path.name
    directory.mkdir()
    (directory / "file").write_bytes(bytes(range(256)) * 4096)
    with mounted(directory) as mount, ThreadPoolExecutor(21) as pool, opened(mount.path / "file") as file:
        assert os.pread(file, 1 << 20, 0) == bytes(range(256)) * 4096
        before = json.loads(mount.attribute("stats"))["requests"][READ]
        with leased(directory, 20) as names:
            waiting = open_all(mount, names, pool)

            def read(number: int) -> bytes:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
                return os.pread(file, 256, number * 4096)

            for number in range(200):
                assert answered(lambda number=number: read(number), pool) == bytes(range(256))  # type: ignore[misc]
            assert not any(future.done() for future in waiting)
        assert all(future.result(60) == b"mine" for future in waiting)
        assert json.loads(mount.attribute("stats"))["requests"][READ] >= before + 200
        tasks = list(Path(f"/proc/{mount.process.pid}/task").iterdir())
        names_of = [(task / "comm").read_text().strip() for task in tasks]
        assert names_of.count("requests") <= 4 or len(tasks) < 32
