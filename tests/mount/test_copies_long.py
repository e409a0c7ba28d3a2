"""Copies that take long: interrupted, cut into several requests, and under way when the mount goes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Footer
from tests import loopfs
from tests.loopfs import MIB, run
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

SIZE = 300 * MIB

INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGALRM, lambda *_: None)
s, d = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
signal.setitimer(signal.ITIMER_REAL, 0.02)
print(os.copy_file_range(s, d, 1 << 40), flush=True)
while os.copy_file_range(s, d, 1 << 40): pass
"""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An XFS with a file `a` of 300 MiB, which no ladder but reflink carries in one request."""
    with loopfs.mounted("xfs", tmp_path_factory.mktemp("long"), size=1024 * MIB) as point:
        with (point / "a").open("wb") as file:
            for _ in range(SIZE // MIB):
                file.write(noise(MIB))
        os.sync()
        yield point


@pytest.fixture
def backing(filled: Path) -> Iterator[Path]:
    """The same without copies in it."""
    yield filled
    for name in filled.glob("b*"):
        name.unlink()


def test_copy_of_several_requests_is_one_record(backing: Path) -> None:
    with mounted(backing, "--paths", "splice") as mount:
        run("cp", mount.path / "a", mount.path / "b")
        [copy] = mount.copies(1)
    assert copy.requests.copies >= 2
    assert (copy.dispatch, copy.off_in, copy.length, copy.copied) == ("dispatched", 0, SIZE, SIZE)
    assert (copy.paths, copy.shared, copy.rewritten) == ({"splice": SIZE}, 0, SIZE)
    run("cmp", backing / "a", backing / "b")


@pytest.mark.parametrize("path", ["splice", "sendfile", "readwrite"])
def test_signal_cuts_a_copy_short(backing: Path, path: str) -> None:
    with mounted(backing, "--paths", path) as mount:
        done = run(sys.executable, "-c", INTERRUPTED, mount.path / "a", mount.path / "b")
        [copy] = mount.copies(1)
    count = int(done)
    assert 0 < count < 256 * MIB
    assert (copy.copied, copy.length, copy.errno) == (SIZE, SIZE, None)
    assert copy.attempts[0].reason == "interrupted"
    assert copy.attempts[0].carried == count
    run("cmp", backing / "a", backing / "b")


COPYING = """
import os, sys
s, d = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
print("begin", flush=True)
try:
    while count := os.copy_file_range(s, d, 1 << 40): print(count, flush=True)
    print("end")
except OSError as error:
    print(error.strerror)
"""


@contextmanager
def copying(mount: Mounted) -> "Iterator[subprocess.Popen[str]]":
    """A program that has just begun to copy a to b; it ends by itself."""
    command: list[str | Path] = [sys.executable, "-c", COPYING, mount.path / "a", mount.path / "b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begin\n"
        yield program


def ended(mount: Mounted) -> Copy:
    """The one copy in the log of a server that ended in order."""
    assert mount.process.wait(30) == 0
    assert mounts.at(str(mount.path)) is None
    log = list(current(mount.log))
    assert isinstance(log[-1], Footer)
    [copy] = [record for record in log if isinstance(record, Copy)]
    return copy


def test_copy_goes_on_after_a_lazy_unmount(backing: Path) -> None:
    with mounted(backing, "--paths", "splice") as mount:
        with copying(mount) as program:
            run("umount", "-i", "-l", mount.path)
            said, _ = program.communicate(timeout=60)
        copy = ended(mount)
    *counts, last = said.split()
    assert last == "end"
    assert sum(map(int, counts)) == copy.copied == SIZE
    run("cmp", backing / "a", backing / "b")


def test_second_sigterm_ends_a_copy_under_way_short_and_in_order(backing: Path) -> None:
    with mounted(backing, "--paths", "splice", expected="busy|second signal") as mount:
        with copying(mount) as program:
            mount.process.send_signal(signal.SIGTERM)
            mount.await_words("a second signal detaches it")
            mount.process.send_signal(signal.SIGTERM)
            said, _ = program.communicate(timeout=60)
        copy = ended(mount)
    count, last = said.split(maxsplit=1)
    # The next request of the program was waiting already when the connection went, or came later.
    assert last in ("Software caused connection abort\n", "Transport endpoint is not connected\n")
    assert copy.copied is not None
    assert 0 < int(count) == copy.copied < SIZE
    assert copy.attempts[-1].reason == "interrupted"
    with (backing / "a").open("rb") as a, (backing / "b").open("rb") as b:
        assert a.read(copy.copied) == b.read()
