"""Requests by io_uring: nobody waits for what is slow, nothing hangs and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fusecopy import io_uring, mounts
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Header
from fusecopy.errors import Exit
from tests.conftest import switched
from tests.loopfs import run
from tests.mount.ordinary import AS_NOBODY, nobodys_mount
from tests.mount.sides import opened
from tests.mount.test_loop import lease_breaks_ignored, leased  # noqa: F401
from tests.mount.test_stalls import frozen
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop, pytest.mark.io_uring]

WAY = ("-o", "io_uring")

BY_DEVICE = {"2", "26", "36", "38", "42"}
"""Opcodes that never come by a ring: FORGET, INIT, INTERRUPT, DESTROY, BATCH_FORGET."""

MIB = 1 << 20

NO_IO_URING = """
import ctypes, os, struct, sys
# Load the system call's number; io_uring_setup (425) gets EPERM, all else is allowed (seccomp(2), BPF).
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    with switched("Y"):
        yield


@pytest.fixture
def backing(ext4: Path, tmp_path: Path) -> Path:
    directory = ext4 / tmp_path.name
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    return directory


def stats(mount: Mounted) -> dict[str, Any]:
    return dict(json.loads(mount.attribute("stats")))


def on_processor(processor: int, threads: int) -> ThreadPoolExecutor:
    """Threads that all ask the same queue."""
    return ThreadPoolExecutor(threads, initializer=partial(os.sched_setaffinity, 0, {processor}))


def failing(act: Callable[[], object]) -> bool:
    """Whether it gets an error, as everything does whose server is gone."""
    try:
        act()
    except OSError:
        return True
    return False


def test_all_that_can_comes_by_io_uring(backing: Path) -> None:
    with mounted(backing, *WAY) as mount:
        for number in range(50):
            (mount.path / f"f{number}").write_bytes(b"x")
            (mount.path / f"f{number}").unlink()
        assert mount.attribute("transport").startswith("io_uring (")
        told = stats(mount)
        by_ring = sum(count for opcode, count in told["requests"].items() if opcode not in BY_DEVICE)
        assert told["rings"]["requests"] == by_ring > 200
        assert told["rings"]["queues"] == io_uring.possible_processors()
        [header] = [record for record in current(mount.log) if isinstance(record, Header)]
        assert header.transport == "io_uring"
        done = subprocess.run([FUSECOPY, "status", mount.path], capture_output=True, text=True, timeout=60)
        assert f"{told['rings']['entries']} entries" in done.stdout


@pytest.mark.usefixtures("lease_breaks_ignored")
def test_eight_slow_requests_of_one_processor_hold_up_none_of_300_clients(backing: Path) -> None:
    (backing / "other").write_bytes(b"read me")

    def ask(number: int) -> bytes:
        (mount.path / f"new{number}").write_bytes(b"x")
        return (mount.path / "other").read_bytes()

    with mounted(backing, *WAY) as mount, on_processor(0, 8) as slow, on_processor(0, 300) as clients:
        with leased(backing, 8) as names:
            waiting = [slow.submit((mount.path / name).read_bytes) for name in names]
            for answer in [clients.submit(ask, number) for number in range(300)]:
                assert answer.result(60) == b"read me"
            assert not any(future.done() for future in waiting)
        assert all(future.result(60) == b"mine" for future in waiting)


def test_a_frozen_backing_holds_up_only_what_it_must(ext4: Path, backing: Path) -> None:
    (backing / "other").write_bytes(b"read me")
    with mounted(backing, *WAY) as mount, on_processor(0, 100) as pool, ExitStack() as stack:
        flags = os.O_WRONLY | os.O_CREAT
        descriptors = [stack.enter_context(opened(mount.path / f"w{n}", flags)) for n in range(99)]
        with frozen(ext4):
            waiting = [pool.submit(os.write, descriptor, b"written") for descriptor in descriptors]
            for _ in range(100):
                assert pool.submit((mount.path / "other").read_bytes).result(60) == b"read me"
            assert not any(future.done() for future in waiting)
        assert all(future.result(60) == len(b"written") for future in waiting)
        assert stats(mount)["rings"]["entries"] > 99
    assert {(backing / f"w{number}").read_bytes() for number in range(99)} == {b"written"}


@pytest.mark.usefixtures("lease_breaks_ignored")
def test_callers_killed_while_they_wait(backing: Path) -> None:
    with mounted(backing, *WAY) as mount:
        with leased(backing, 6) as names:
            waiting = [subprocess.Popen(["cat", mount.path / name]) for name in names]
            wait_until(lambda: all(in_system_call(process.pid) for process in waiting))
            for process in waiting:
                process.kill()
            assert os.listdir(mount.path)
        assert [process.wait(60) for process in waiting] == [-signal.SIGKILL] * 6
        assert (mount.path / names[0]).read_bytes() == b"mine"


def in_system_call(pid: int) -> bool:
    """Whether it waits for a file to be opened: openat(2) on x86-64, on arm64."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith(("257 ", "56 "))


def wait_until(done: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if done():
            return
        os.sched_yield()
    raise AssertionError("it never happened")


@pytest.mark.usefixtures("lease_breaks_ignored")
@pytest.mark.parametrize("end", ["kill", "abort", "lazy umount"])
def test_a_busy_mount_ends(backing: Path, end: str) -> None:
    expected = "" if end == "lazy umount" else "-"
    with ThreadPoolExecutor(4) as pool, leased(backing, 4) as names:
        with mounted(backing, *WAY, expected=expected) as mount:
            waiting: list[Future[bytes]] = [pool.submit((mount.path / name).read_bytes) for name in names]
            wait_until(lambda: stats(mount)["requests"].get("14", 0) >= 4)  # OPEN
            assert subprocess.run(["umount", "-i", mount.path], capture_output=True).returncode
            if end == "kill":
                mount.process.kill()
            elif end == "abort":
                subprocess.run(["umount", "-i", "-f", mount.path], capture_output=True, timeout=60)
            else:
                run("umount", "-l", mount.path)
            if end != "lazy umount":
                assert all(failing(partial(future.result, 60)) for future in waiting)
                for name in names:
                    release(backing / name)  # for which a server that lives on still waits
                return
            for name in names:
                release(backing / name)
        assert all(future.result(60) == b"mine" for future in waiting)


def release(path: Path) -> None:
    """Give up this process's leases on a file."""
    import fcntl

    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if os.path.samefile(descriptor, path):
                fcntl.fcntl(int(descriptor.name), fcntl.F_SETLEASE, fcntl.F_UNLCK)


def test_a_stopped_server_goes_on(backing: Path) -> None:
    with mounted(backing, *WAY) as mount, ThreadPoolExecutor(8) as pool:
        os.kill(mount.process.pid, signal.SIGSTOP)
        waiting = [pool.submit((mount.path / f"f{number}").write_bytes, b"x") for number in range(8)]
        os.kill(mount.process.pid, signal.SIGCONT)
        assert [future.result(60) for future in waiting] == [1] * 8


def test_the_switch_is_turned_off_while_mounted(backing: Path) -> None:
    with mounted(backing, *WAY) as mount:
        with switched("N"):
            for number in range(20):
                (mount.path / f"f{number}").write_bytes(b"x")
            before = stats(mount)["rings"]["requests"]
            (mount.path / "f0").unlink()
            assert stats(mount)["rings"]["requests"] > before
        assert mount.attribute("transport").startswith("io_uring (")


def test_switched_off_it_is_used_by_nobody_and_promised_to_nobody(backing: Path, tmp_path: Path) -> None:
    with switched("N"):
        with mounted(backing, "-o", "no-io_uring") as mount:
            assert mount.attribute("transport") == "/dev/fuse (mounted with no-io_uring)"
        with mounted(backing) as mount:
            assert mount.attribute("transport") == f"/dev/fuse ({io_uring.lacking()})"
            assert "echo Y" in io_uring.lacking()
        command = [FUSECOPY, "mount", "-f", "--log", str(tmp_path / "log"), *WAY, str(backing), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == Exit.NO_FUSE
        assert "requests cannot come by io_uring: enable_uring is off" in done.stderr


def test_by_default_it_is_used_where_it_is_on(backing: Path) -> None:
    with mounted(backing) as mount:
        assert mount.attribute("transport").startswith("io_uring (")
    with mounted(backing, "-o", "no-io_uring") as mount:
        assert mount.attribute("transport") == "/dev/fuse (mounted with no-io_uring)"
        assert stats(mount)["rings"]["requests"] == 0


def test_where_io_uring_is_forbidden_the_mount_does_not_hang(backing: Path, tmp_path: Path) -> None:
    forbidden = (sys.executable, "-c", NO_IO_URING, sys.executable)
    with mounted(backing, "-o", "allow_other", prefix=forbidden) as mount:
        (mount.path / "f").write_bytes(b"x")
        assert mount.attribute("transport").startswith("/dev/fuse (io_uring is forbidden here")
    point = tmp_path / "mnt"
    point.mkdir()
    command = [
        *forbidden,
        FUSECOPY,
        "mount",
        "-f",
        "--log",
        str(tmp_path / "log"),
        *WAY,
        str(backing),
        str(point),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == Exit.NO_FUSE
    assert "requests cannot come by io_uring: io_uring is forbidden here" in done.stderr
    assert mounts.at(str(point)) is None


def as_nobody(*command: "str | Path") -> str:
    return run(*AS_NOBODY, *command)


def test_an_ordinary_user_serves_by_io_uring(ext4: Path) -> None:
    with nobodys_mount(ext4, *WAY, prefix=("prlimit", f"--memlock={8 * MIB}")) as mount:
        assert as_nobody("sh", "-c", f"echo x >{mount.path}/f; cat {mount.path}/f") == "x\n"
        assert "io_uring (enable_uring is on)" in as_nobody(FUSECOPY, "status", mount.path)


def test_an_ordinary_user_without_locked_memory_gets_dev_fuse(ext4: Path) -> None:
    with nobodys_mount(ext4, prefix=("prlimit", "--memlock=0")) as mount:
        told = as_nobody(FUSECOPY, "status", mount.path)
        assert "/dev/fuse (no memory for its rings (RLIMIT_MEMLOCK))" in told


@pytest.mark.parametrize("options", [(), ("--passthrough",)], ids=["", "passthrough"])
def test_the_largest_requests_and_the_longest_names_arrive_whole(
    backing: Path, options: tuple[str, ...]
) -> None:
    content = noise(MIB) * 3 + b"end"
    name = "n" * 255
    with mounted(backing, *WAY, *options) as mount:
        (mount.path / name).write_bytes(content)
        with opened(mount.path / name) as file:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file, len(content), 0) == content
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(file, 2 * MIB, MIB + 1) == content[MIB + 1 : 3 * MIB + 1]
        os.setxattr(mount.path / name, "user.long", b"v" * 3000)
        os.symlink("t" * 4000, mount.path / "link")
        for number in range(3000):
            os.mknod(mount.path / f"{number:0200}")
        assert os.getxattr(mount.path / name, "user.long") == b"v" * 3000
        assert os.readlink(mount.path / "link") == "t" * 4000
        assert len(os.listdir(mount.path)) == 3002
        run("cp", mount.path / name, mount.path / "copy")
        [copy] = mount.copies(1)
        assert (copy.dispatch, copy.copied, copy.comm) == ("dispatched", len(content), "cp")
    assert (backing / name).read_bytes() == (backing / "copy").read_bytes() == content


def test_more_clients_than_entries(backing: Path) -> None:
    def work(worker: int) -> None:
        for number in range(20):
            path = mount.path / f"{worker}-{number}"
            path.write_bytes(b"%d" % worker * 1000)
            assert path.read_bytes() == b"%d" % worker * 1000
            path.unlink()

    with mounted(backing, *WAY) as mount, ThreadPoolExecutor(100) as pool:
        for done in [pool.submit(work, worker) for worker in range(100)]:
            done.result(120)
        assert os.listdir(mount.path) == []


def test_threads_are_bound_to_their_processor(backing: Path) -> None:
    with mounted(backing, *WAY) as mount:
        (mount.path / "f").write_bytes(b"x")
        tasks = Path(f"/proc/{mount.process.pid}/task")
        bound = [os.sched_getaffinity(int(task.name)) for task in tasks.iterdir() if name_of(task) == "ring"]
        for processor in os.sched_getaffinity(0):
            assert bound.count({processor}) >= 1


def name_of(task: Path) -> str:
    with suppress(OSError):
        return (task / "comm").read_text().strip()
    return ""
