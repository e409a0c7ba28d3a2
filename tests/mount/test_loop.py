"""The request loop: what waits holds up nobody else, nothing is lost, and it can be switched off."""

import fcntl
import os
import select
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mount.sides import opened
from tests.mounted import NATIVE_LANE, Mounted, answered_natively, mounted


@pytest.fixture
def backing(btrfs: Path, tmp_path: Path) -> Path:
    require("fuse")
    directory = btrfs / tmp_path.name
    directory.mkdir()
    return directory


@contextmanager
def leased(backing: Path, count: int) -> Iterator[list[str]]:
    """Files of the backing that nobody can open until the context ends: each has a lease on it (fcntl(2))."""
    names = [f"leased{number}" for number in range(count)]
    with ExitStack() as stack:
        for name in names:
            (backing / name).write_bytes(b"mine")
            descriptor = stack.enter_context(opened(backing / name, os.O_RDWR))
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield names


def open_all(mount: Mounted, names: list[str], pool: ThreadPoolExecutor) -> list["Future[bytes]"]:
    return [pool.submit((mount.path / name).read_bytes) for name in names]


@pytest.fixture
def lease_breaks_ignored() -> Iterator[None]:
    """The kernel tells a lease's holder by a signal that somebody waits."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.mark.usefixtures("lease_breaks_ignored")
@pytest.mark.parametrize("count", [1, 30])
def test_requests_that_wait_hold_up_nobody(backing: Path, count: int) -> None:
    (backing / "other").write_bytes(b"read me")
    with mounted(backing) as mount, ThreadPoolExecutor(count) as pool:
        with leased(backing, count) as names:
            waiting = open_all(mount, names, pool)
            for number in range(200):
                assert (mount.path / "other").read_bytes() == b"read me"
                (mount.path / f"new{number}").write_bytes(b"x")
                os.statvfs(mount.path)
                os.setxattr(mount.path / f"new{number}", "user.n", b"%d" % number)
            assert not any(future.done() for future in waiting)
        assert all(future.result(60) == b"mine" for future in waiting)


@pytest.mark.usefixtures("lease_breaks_ignored")
def test_more_may_wait_than_there_are_threads(backing: Path) -> None:
    with mounted(backing) as mount, ThreadPoolExecutor(300) as pool:
        with leased(backing, 300) as names:
            waiting = open_all(mount, names, pool)
            wait(waiting[:1], timeout=1)
            assert not any(future.done() for future in waiting)
        assert all(future.result(60) == b"mine" for future in waiting)
        assert mount.attribute("pid") == str(mount.process.pid)


def test_many_clients_at_once_are_answered_right(backing: Path) -> None:
    def work(worker: int) -> None:
        directory = mount.path / f"d{worker}"
        directory.mkdir()
        for number in range(40):
            content = f"{worker} {number}".encode() * 100
            (directory / "a").write_bytes(content)
            with opened(directory / "a") as a, opened(directory / "b", os.O_WRONLY | os.O_CREAT) as b:
                assert os.copy_file_range(a, b, len(content)) == len(content)
            assert (backing / f"d{worker}" / "b").read_bytes() == content
            os.rename(directory / "b", directory / "c")
            assert sorted(os.listdir(directory)) == ["a", "c"]
            os.unlink(directory / "c")

    with mounted(backing) as mount:
        with ThreadPoolExecutor(16) as pool:
            for done in [pool.submit(work, worker) for worker in range(16)]:
                done.result(120)
        copies = mount.copies(16 * 40)
        assert {(copy.dispatch, copy.copied == copy.length) for copy in copies} == {("dispatched", True)}


def test_requests_that_no_operation_serves_are_answered_too(backing: Path) -> None:
    """With ENOSYS, or by the kernel itself from then on."""
    with mounted(backing) as mount:
        (mount.path / "f").write_bytes(b"x")
        with opened(mount.path / "f", os.O_RDWR) as file:
            poll = select.poll()
            poll.register(file, select.POLLIN | select.POLLOUT)
            assert poll.poll(0) == [(file, select.POLLIN | select.POLLOUT)]
            fcntl.flock(file, fcntl.LOCK_EX)
            fcntl.lockf(file, fcntl.LOCK_EX)
            with pytest.raises(OSError, match="Inappropriate ioctl"):
                fcntl.ioctl(file, 0x80087601, bytes(8))
        assert os.access(mount.path / "f", os.W_OK)
        assert os.statvfs(mount.path).f_blocks == os.statvfs(backing).f_blocks
        assert (mount.path / "f").read_bytes() == b"x"


@pytest.mark.parametrize("native", [True, False] if NATIVE_LANE else [False])
def test_the_native_lane_can_be_switched_off(backing: Path, native: bool) -> None:
    """pyfuse3 waits for an eventfd in the device's place, and Python answers everything."""
    with mounted(backing, "--exclusive", *([] if native else ["--no-native-lane"])) as mount:
        (mount.path / "f").write_bytes(b"x")
        assert (mount.path / "f").read_bytes() == b"x"
        assert not (mount.path / "g").exists()
        held = set()
        for descriptor in Path(f"/proc/{mount.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                held.add(os.readlink(descriptor))
        assert "anon_inode:[eventfd]" in held
        assert any(answered_natively(mount).values()) is native
