"""Fixtures and capabilities all tests share.

A test that needs more than an ordinary system says so, by a marker (@pytest.mark.root) or by a fixture that
calls require(). What is missing skips the test and is named, or fails it where FUSECOPY_REQUIRE lists it.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusecopy import io_uring
from tests import loopfs, peers
from tests.mounted import TRANSPORT

TRACEPOINT = Path("/sys/kernel/tracing/events/fuse/fuse_request_send/enable")
SECCOMP_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")

# Where the caller has it set, what a command holds back would come all the same.
os.environ.pop("PYTHONUNBUFFERED", None)


def _has_fuse() -> bool:
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and shutil.which("fusermount3") is not None


def _has_root() -> bool:
    return os.geteuid() == 0


def _has_loop() -> bool:
    tools = all(shutil.which(command[0]) for command in loopfs.MKFS.values())
    return _has_root() and tools and os.access("/dev/loop-control", os.R_OK | os.W_OK)


def _has_tracefs() -> bool:
    return os.access(TRACEPOINT, os.W_OK)


def _has_seccomp() -> bool:
    return SECCOMP_ACTIONS.exists() and "user_notif" in SECCOMP_ACTIONS.read_text().split()


def _has_io_uring() -> bool:
    """Requests may come by io_uring: the switch for it is there, and ours to set."""
    return os.access(io_uring.SWITCH, os.W_OK)


def _in_lab() -> bool:
    """The machine is a guest of scripts/lab: it may be made a server of files, and is gone afterwards."""
    return "FUSECOPY_LAB" in os.environ


ROOM = 2 << 30
"""Of the images that a whole run shares, in which tests leave what they copied; they are sparse."""


class _Switch:
    """The machine's switch for requests by io_uring, which other runs of tests on this machine may want too:
    on, it is shared, off is for one, and whoever leaves last puts it back."""

    def __init__(self) -> None:
        self._wanted: list[str] = []
        self._descriptor = -1
        self._before = ""

    def want(self, value: str) -> None:
        if not self._wanted:
            self._descriptor = os.open(io_uring.SWITCH, os.O_RDWR)
            self._before = io_uring.SWITCH.read_text() if self._is_alone() else "N"
        self._wanted.append(value)
        self._set()

    def leave(self) -> None:
        self._wanted.pop()
        if self._wanted:
            self._set()
            return
        if self._is_alone():
            io_uring.SWITCH.write_text(self._before)
        os.close(self._descriptor)

    def _set(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if self._wanted[-1] == "N" else fcntl.LOCK_SH)
        io_uring.SWITCH.write_text(self._wanted[-1])

    def _is_alone(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_switch = _Switch()


@contextmanager
def switched(to: str) -> Iterator[None]:
    """Set that switch (Y or N) while the context lasts."""
    require("io_uring")
    _switch.want(to)
    try:
        yield
    finally:
        _switch.leave()


CAPABILITIES: dict[str, Callable[[], bool]] = {
    "fuse": _has_fuse,
    "root": _has_root,
    "loop": _has_loop,
    "tracefs": _has_tracefs,
    "seccomp": _has_seccomp,
    "io_uring": _has_io_uring,
    "passthrough_ll": lambda: peers.passthrough_ll() is not None,
    "mergerfs": lambda: shutil.which("mergerfs") is not None,
    "bindfs": lambda: shutil.which("bindfs") is not None,
    "lab": _in_lab,
}


def require(*names: str) -> None:
    """Skip the running test unless the machine has all of the named capabilities."""
    demanded = os.environ.get("FUSECOPY_REQUIRE", "").split(",")
    for name in names:
        if not CAPABILITIES[name]():
            if name in demanded:
                pytest.fail(f"missing here although FUSECOPY_REQUIRE lists it: {name}")
            pytest.skip(f"missing here: {name}")


def pytest_sessionstart() -> None:
    """Tests that root runs run commands as nobody, too, who has to reach them."""
    closed = [path for path in Path(__file__).resolve().parents if not path.stat().st_mode & stat.S_IXOTH]
    if _has_root() and closed:
        pytest.exit(f"only its owner may enter {closed[0]}, and tests run as nobody: clone elsewhere", 1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Honour the markers named after capabilities, and `slow`."""
    names = [marker.name for marker in item.iter_markers()]
    if "slow" in names and "slow" not in item.config.option.markexpr:
        pytest.skip("slow; run with -m slow")
    require(*(name for name in names if name in CAPABILITIES))


@pytest.fixture(scope="session", autouse=True)
def _whole_run_by_io_uring() -> Iterator[None]:
    """In a run with FUSECOPY_TEST_TRANSPORT=io_uring all mounts are to come by it."""
    if TRANSPORT:
        with switched("Y"):
            yield
    else:
        yield


def _session_filesystem(kind: str, factory: pytest.TempPathFactory) -> Iterator[Path]:
    require("loop")
    with loopfs.mounted(kind, factory.mktemp(kind), ROOM) as point:
        yield point


@pytest.fixture(scope="session")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mounted btrfs."""
    yield from _session_filesystem("btrfs", tmp_path_factory)


@pytest.fixture(scope="session")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mounted XFS, with reflink as mkfs.xfs makes it since 5.1."""
    yield from _session_filesystem("xfs", tmp_path_factory)


@pytest.fixture(scope="session")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mounted ext4."""
    yield from _session_filesystem("ext4", tmp_path_factory)


@pytest.fixture(params=["btrfs", "xfs", "ext4"])
def backing(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh directory on each of the three filesystems."""
    yield from _fresh(request.getfixturevalue(request.param))


@pytest.fixture(params=["btrfs", "xfs"])
def sharing_backing(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh directory on each of the two filesystems that have reflink."""
    yield from _fresh(request.getfixturevalue(request.param))


def _fresh(filesystem: Path) -> Iterator[Path]:
    directory = filesystem / "test"
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
