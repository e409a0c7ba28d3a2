"""fusecopy umount: waits for the server, names who is busy, and takes away what is dead or stuck."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Footer
from fusecopy.errors import Exit
from tests.cli.commands import Place, run, running

pytestmark = [pytest.mark.fuse, pytest.mark.root]

CONNECTIONS = Path("/sys/fs/fuse/connections")


def mounted(place: Place) -> int:
    """Mount in the background; the server's process id."""
    done = run("mount", "--log", place.log, place.backing, place.point)
    assert done.returncode == 0, done.stderr
    return int(os.getxattr(place.point, "user.fusecopy.pid"))


def await_end(server: int) -> None:
    """Wait until a process has ended."""
    poll, descriptor = select.poll(), os.pidfd_open(server)
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(30_000)
    os.close(descriptor)


@contextmanager
def holder(place: Place) -> "Iterator[subprocess.Popen[bytes]]":
    """A program that works in the mount until its input ends."""
    program = subprocess.Popen(["cat"], cwd=place.point, stdin=subprocess.PIPE)
    try:
        yield program
    finally:
        program.communicate(timeout=30)


@pytest.fixture
def fusectl() -> Iterator[None]:
    """The control filesystem of FUSE, which most systems have mounted."""
    ours = not any(mount.mountpoint == str(CONNECTIONS) for mount in mounts.mounts())
    if ours:
        subprocess.run(["mount", "-t", "fusectl", "none", CONNECTIONS], check=True, timeout=10)
    yield
    if ours:
        subprocess.run(["umount", CONNECTIONS], check=True, timeout=10)


def test_returns_when_the_server_has_ended_and_the_log_is_whole(place: Place) -> None:
    server = mounted(place)
    done = run("umount", place.point)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not running(server)
    assert mounts.at(str(place.point)) is None
    assert isinstance(list(current(place.log))[-1], Footer)


def test_busy_mount_names_who_holds_it(place: Place) -> None:
    server = mounted(place)
    with holder(place) as program:
        busy = run("umount", place.point)
        assert busy.returncode == Exit.UNMOUNT
        assert f"held by cat (pid {program.pid}); end them, or use --lazy" in busy.stderr
        assert running(server)
        assert os.getxattr(place.point, "user.fusecopy.pid") == str(server).encode()
    assert run("umount", place.point).returncode == 0
    assert not running(server)


def test_lazy_detaches_a_busy_mount_at_once(place: Place) -> None:
    server = mounted(place)
    with holder(place):
        done = run("umount", "--lazy", place.point)
        assert (done.returncode, done.stderr) == (0, "")
        assert mounts.at(str(place.point)) is None
        assert running(server)
    await_end(server)
    assert isinstance(list(current(place.log))[-1], Footer)


def test_mount_point_by_another_name(place: Place) -> None:
    mounted(place)
    link = place.backing.parent / "link"
    link.symlink_to(place.point)
    assert run("umount", link).returncode == 0
    assert mounts.at(str(place.point)) is None


def test_nothing_is_there(place: Place) -> None:
    for path in (place.point, place.backing / "missing", Path("/proc")):
        done = run("umount", path)
        assert done.returncode == Exit.MOUNT_POINT
        assert done.stderr.startswith(f"fusecopy: {path}: fusecopy has no mount there\n")


@pytest.mark.usefixtures("fusectl")
def test_abort_takes_away_a_mount_whose_server_hangs(place: Place) -> None:
    server = mounted(place)
    with holder(place):
        os.kill(server, signal.SIGSTOP)
        try:
            done = run("umount", "--abort", place.point)
        finally:
            os.kill(server, signal.SIGCONT)
        assert (done.returncode, done.stderr) == (0, "")
        assert mounts.at(str(place.point)) is None
    await_end(server)
    assert isinstance(list(current(place.log))[-1], Footer)


@contextmanager
def stopped(place: Place) -> Iterator[int]:
    """A mount whose server does not answer, and of which the kernel remembers nothing: everything asks."""
    done = run("mount", "--coherent", "--log", place.log, place.backing, place.point)
    assert done.returncode == 0, done.stderr
    server = int(os.getxattr(place.point, "user.fusecopy.pid"))
    os.kill(server, signal.SIGSTOP)
    try:
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGCONT)
    await_end(server)


@pytest.mark.usefixtures("fusectl")
@pytest.mark.parametrize("how", ["--lazy", "--abort"])
@pytest.mark.parametrize("name", ["path", "link", "dots"])
def test_server_that_does_not_answer_is_not_asked(place: Place, how: str, name: str) -> None:
    link = place.backing.parent / "link"
    link.symlink_to(place.point)
    point = {"path": place.point, "link": link, "dots": place.backing / ".." / "mnt"}[name]
    with stopped(place):
        done = run("umount", how, point)
        assert (done.returncode, done.stderr) == (0, "")
        assert mounts.at(str(place.point)) is None


def test_end_of_a_server_that_does_not_answer_is_not_waited_for(place: Place) -> None:
    with stopped(place):
        done = run("umount", place.point)
        assert done.returncode == Exit.UNMOUNT
        assert "is unmounted, but its server did not answer" in done.stderr
        assert mounts.at(str(place.point)) is None


def test_mount_that_lives_on_in_another_namespace_names_who_holds_it(place: Place) -> None:
    server = mounted(place)
    command = ["unshare", "--mount", "--propagation=private", "sh", "-c", "echo; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        done = run("umount", place.point)
        assert done.returncode == Exit.UNMOUNT
        assert f"its server still serves it at {place.point} in the mount namespace of cat" in done.stderr
        assert f"(pid {other.pid})" in done.stderr
        assert mounts.at(str(place.point)) is None
        assert running(server)
    await_end(server)


def test_mount_that_is_bound_to_another_place_names_it(place: Place) -> None:
    server = mounted(place)
    bound = place.backing.parent / "bound"
    bound.mkdir()
    subprocess.run(["mount", "--bind", place.point, bound], check=True, timeout=30)
    try:
        done = run("umount", place.point)
    finally:
        subprocess.run(["umount", bound], check=True, timeout=30)
    assert done.returncode == Exit.UNMOUNT
    assert f"its server still serves it at {bound}" in done.stderr
    await_end(server)


def test_what_somebody_else_has_mounted_on_it_stays(place: Place) -> None:
    mounted(place)
    subprocess.run(["mount", "-t", "tmpfs", "precious", place.point], check=True, timeout=30)
    try:
        for how in ((), ("--lazy",), ("--abort",)):
            done = run("umount", *how, place.point)
            assert done.returncode == Exit.UNMOUNT
            assert "another mount (tmpfs, precious) lies on fusecopy's" in done.stderr
            there = mounts.at(str(place.point))
            assert there is not None
            assert there.source == "precious"
    finally:
        subprocess.run(["umount", place.point], check=True, timeout=30)
    assert run("umount", place.point).returncode == 0
