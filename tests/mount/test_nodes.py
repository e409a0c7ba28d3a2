"""What the native layer answers about inodes: the same as Python, and never another file's."""

import ctypes
import errno
import os
import select
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mount.sides import Sides, opened, requests
from tests.mounted import Mounted, mounted

FEW = ("prlimit", "--nofile=300", "--")
"""So that a server keeps 150 inodes open."""

GETATTR = 3

STATS = {"5", "262", "80", "79"}
"""fstat and newfstatat in /proc/PID/syscall, on x86-64 and on arm64."""

MANY = 400
SECONDS = 60

libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def directory(btrfs: Path, tmp_path: Path) -> Iterator[Path]:
    require("fuse", "root", "loop")
    directory = btrfs / tmp_path.name
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


def plant(root: Path, prefix: str, count: int) -> list[str]:
    """So many files, no two of which have the same size."""
    names = [f"{prefix}{number}" for number in range(count)]
    for number, name in enumerate(names):
        (root / name).write_bytes(b"x" * (number + 1))
    return names


@contextmanager
def held(mount: Mounted, names: list[str]) -> Iterator[list[int]]:
    """Descriptors by which the kernel asks for attributes without a look-up."""
    with ExitStack() as stack:
        yield [stack.enter_context(opened(mount.path / name, os.O_PATH)) for name in names]


def facts(st: os.stat_result) -> tuple[int, ...]:
    """All that stat(2) says of a file but where it is mounted."""
    return (
        *(st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size),
        *(st.st_blksize, st.st_blocks, st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns),
    )


def push_out(mount: Mounted, names: list[str]) -> None:
    """Look up so many others that the server closes what it had open."""
    for name in names:
        os.stat(mount.path / name)


def test_every_way_tells_what_the_backing_says(directory: Path) -> None:
    """Asked of a closed descriptor Python answers, and has it open then; the next times the native layer."""
    (directory / "directory").mkdir()
    (directory / "link").symlink_to("nowhere")
    os.mkfifo(directory / "fifo", 0o600)
    os.mknod(directory / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.truncate(directory / plant(directory, "f", 100)[0], 1 << 40)
    os.utime(directory / "f1", ns=(-5, (1 << 34) * 10**9 + 7))
    names, others = sorted(os.listdir(directory)), plant(directory, "other", MANY)
    with mounted(directory, "--coherent", prefix=FEW) as mount, ExitStack() as stack:
        flags = os.O_PATH | os.O_NOFOLLOW
        fds = [stack.enter_context(opened(mount.path / name, flags)) for name in names]
        for _ in range(2):
            push_out(mount, others)
            before = requests(mount)[GETATTR]
            for name, fd in zip(names, fds, strict=True):
                native = facts(os.lstat(directory / name))
                assert [facts(os.fstat(fd)) for _ in range(3)] == [native] * 3, name
            assert requests(mount)[GETATTR] - before >= 3 * len(names)


def test_stats_while_descriptors_are_closed_and_opened_again(directory: Path) -> None:
    names, others = plant(directory, "f", 60), plant(directory, "other", MANY)
    right = [os.stat(directory / name).st_ino for name in names]
    over = threading.Event()

    def look() -> int:
        rounds = 0
        while not over.is_set():
            for number, fd in enumerate(fds):
                st = os.fstat(fd)
                assert (st.st_ino, st.st_size) == (right[number], number + 1)
            rounds += 1
        return rounds

    with (
        mounted(directory, "--coherent", prefix=FEW) as mount,
        held(mount, names) as fds,
        ThreadPoolExecutor(3) as pool,
    ):
        looking = [pool.submit(look) for _ in range(3)]
        try:
            for _ in range(5):
                push_out(mount, others)
        finally:
            over.set()
        assert all(future.result(SECONDS) > 0 for future in looking)


@contextmanager
def stopped(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """A process that answers nothing until the block ends."""
    os.kill(process.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def await_stats(mount: Mounted, count: int) -> None:
    """Wait until so many threads of the server are in a stat."""
    deadline = time.monotonic() + SECONDS
    while sum(call in STATS for call in calls(mount)) < count:
        assert time.monotonic() < deadline, "nobody waits for a stat"
        select.select([], [], [], 0.01)


def calls(mount: Mounted) -> Iterator[str]:
    """The system calls that the server's threads are in, by number."""
    for thread in Path(f"/proc/{mount.process.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended
            yield (thread / "syscall").read_text().split()[0]


def held_by(mount: Mounted, path: Path) -> int:
    """How many descriptors of a file the server has."""
    return list(map(os.readlink, Path(f"/proc/{mount.process.pid}/fd").iterdir())).count(str(path))


def test_a_descriptor_is_not_closed_while_a_stat_waits(directory: Path) -> None:
    """The backing is itself a mount, whose server is stopped: so are network filesystems sometimes."""
    others, slow = plant(directory, "other", MANY), directory / "slow"
    behind = directory.with_name(f"{directory.name}-behind")
    behind.mkdir()
    plant(behind, "f", 7)
    with (
        mounted(behind, "--coherent", mountpoint=slow) as backing,
        mounted(directory, "--coherent", prefix=FEW) as mount,
        held(mount, ["slow/f6"]) as [fd],
        ThreadPoolExecutor(2) as pool,
    ):
        assert os.fstat(fd).st_size == 7
        with stopped(backing.process):
            looking = [pool.submit(os.fstat, fd) for _ in range(2)]
            await_stats(mount, 2)
            push_out(mount, others)
            assert held_by(mount, slow / "f6") == 1
            assert not any(future.done() for future in looking)
        assert [future.result(SECONDS).st_size for future in looking] == [7, 7]
        push_out(mount, others)
        assert held_by(mount, slow / "f6") == 0
    shutil.rmtree(behind)


def test_the_size_told_last_is_known_whoever_told_it(directory: Path) -> None:
    """A copy that the kernel cuts to the size it was told is explained by that size."""
    source, others = directory / "source", plant(directory, "other", MANY)
    source.write_bytes(b"s" * 4096)
    with mounted(directory, "--coherent", prefix=FEW) as mount:
        with (
            opened(mount.path / "source", os.O_RDONLY) as fd,
            opened(mount.path / "copy", os.O_WRONLY | os.O_CREAT) as to,
        ):
            for size in (8192, 12288, 16384):
                if size == 12288:
                    push_out(mount, others)
                os.truncate(source, size)
                assert os.fstat(fd).st_size == size
                os.truncate(source, size + 4096)
                assert os.copy_file_range(fd, to, 1 << 20, 0, 0) == size
        causes = [copy.cause or "" for copy in mount.copies(3)]
    for size, cause in zip((8192, 12288, 16384), causes, strict=True):
        assert cause.startswith(f"The request ended at {size} bytes, the source's size as"), cause
        assert cause.endswith(f"it has {size + 4096} now.")


def test_what_was_told_is_believed(sides: Sides) -> None:
    with opened(sides.mount / "f", os.O_RDWR | os.O_CREAT) as fd:
        for size in (1, 2):
            os.write(fd, b"x")
            before = requests(sides.mounted)[GETATTR]
            assert [os.fstat(fd).st_size for _ in range(50)] == [size] * 50
            assert requests(sides.mounted)[GETATTR] - before == 1


def capability(path: Path, room: int) -> tuple[int, bytes] | str:
    """getxattr(2) of security.capability into so many bytes."""
    value = ctypes.create_string_buffer(room) if room else None
    size: int = libc.getxattr(os.fsencode(path), b"security.capability", value, room)
    if size < 0:
        return errno.errorcode[ctypes.get_errno()]
    return size, value.raw[:size] if value else b""


@pytest.mark.parametrize("room", [0, 1, 19, 20, 21, 24, 4096, 65536])
def test_capabilities_are_told_as_the_filesystem_tells_them(sides: Sides, room: int) -> None:
    def act(root: Path) -> object:
        (root / "f").touch()
        before = capability(root / "f", room)
        subprocess.run(["setcap", "cap_net_raw+ep", root / "f"], check=True)
        return before, capability(root / "f", room)

    before, after = sides.both(act)
    assert before == "ENODATA"
    assert after == "ERANGE" if 0 < room < 20 else after[0] == 20


def test_capabilities_of_what_has_none_and_of_what_is_gone(sides: Sides) -> None:
    def act(root: Path) -> object:
        (root / "link").symlink_to("f")
        os.mkfifo(root / "fifo")
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.unlink(root / "f")
            found = [capability(Path(f"/proc/self/fd/{fd}"), 100)]
        return [*found, capability(root, 100), capability(root / "fifo", 100), capability(root / "link", 100)]

    assert sides.both(act) == ["ENODATA", "ENODATA", "ENODATA", "ENOENT"]
