"""setuid and setgid bits and file capabilities, which with FUSE_HANDLE_KILLPRIV_V2 are the server's to drop.

Who keeps them and who does not is what the backing's own filesystem does natively; the server is root, whose
own writes would keep them.
"""

import mmap
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.sides import NOBODY, Sides, opened, requests
from tests.tracepoints import WRITE

GETXATTR = 22
GROUP = 4321

Mode = tuple[int, list[str]]


def write(fd: int) -> None:
    os.pwrite(fd, b"x", 0)


def truncate(fd: int) -> None:
    os.ftruncate(fd, 100)


def allocate(fd: int) -> None:
    os.posix_fallocate(fd, 0, 20_000)


def copy(fd: int) -> None:
    with opened(Path("source"), os.O_RDONLY) as source:
        assert os.copy_file_range(source, fd, 8192, 0, 0) == 8192


def send(fd: int) -> None:
    with opened(Path("source"), os.O_RDONLY) as source:
        assert os.sendfile(fd, source, 0, 8192) == 8192


def reopen(fd: int) -> None:
    with opened(Path("f"), os.O_WRONLY | os.O_TRUNC):
        pass


WAYS: dict[str, Callable[[int], None]] = {
    way.__name__: way for way in (write, truncate, allocate, copy, send, reopen)
}


def prepare(sides: Sides, mode: int, capabilities: bool = False) -> None:
    """A file `f` of GROUP that everybody may write, and a source."""

    def act(root: Path) -> None:
        (root / "source").write_bytes(b"s" * 8192)
        (root / "f").write_bytes(b"p" * 8192)
        os.chown(root / "f", 0, GROUP)
        if capabilities:
            subprocess.run(["setcap", "cap_net_raw+ep", root / "f"], check=True)
        os.chmod(root / "f", mode)

    sides.both(act)


def left(sides: Sides) -> Mode:
    """Mode and attributes, which must be the same in the mount, behind it and natively."""

    def look(root: Path) -> Mode:
        return stat.S_IMODE(os.stat(root / "f").st_mode), os.listxattr(root / "f")

    found: Mode = sides.both(look)
    assert look(sides.behind) == found
    return found


def change(way: str) -> Callable[[Path], None]:
    def act(root: Path) -> None:
        with opened(root / "f", os.O_WRONLY) as fd:
            WAYS[way](fd)

    return act


@pytest.mark.parametrize("way", WAYS)
def test_an_ordinary_user_drops_setuid_and_setgid(any_sides: Sides, way: str) -> None:
    prepare(any_sides, 0o6777)
    assert any_sides.as_caller(change(way)) is None
    assert left(any_sides) == (0o777, [])


@pytest.mark.parametrize("way", WAYS)
def test_root_keeps_setuid_and_setgid(any_sides: Sides, way: str) -> None:
    prepare(any_sides, 0o6777)
    assert any_sides.as_caller(change(way), uid=0, gid=0) is None
    mode, _ = left(any_sides)
    assert mode & 0o777 == 0o777
    if way in ("write", "send"):
        assert mode == 0o6777


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("groups", [[], [GROUP]])
def test_setgid_without_execution_goes_by_the_callers_groups(
    any_sides: Sides, way: str, groups: list[int]
) -> None:
    """It once stood for mandatory locks; who is not of the group takes it away (Linux 6.2)."""
    prepare(any_sides, 0o2666)
    assert any_sides.as_caller(change(way), groups=groups) is None
    mode, _ = left(any_sides)
    assert mode in ((0o2666, 0o666) if groups else (0o666,))


@pytest.mark.parametrize("way", ["write", "send", "copy"])
@pytest.mark.parametrize("uid", [0, NOBODY])
def test_capabilities_of_a_file_go_with_its_contents(any_sides: Sides, way: str, uid: int) -> None:
    prepare(any_sides, 0o777, capabilities=True)
    assert left(any_sides) == (0o777, ["security.capability"])
    assert any_sides.as_caller(change(way), uid=uid, gid=uid) is None
    assert left(any_sides) == (0o777, [])


def test_capabilities_are_asked_for_once_and_not_with_every_write(sides: Sides) -> None:
    with opened(sides.mount / "f", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"first")
        before = requests(sides.mounted)
        for _ in range(50):
            os.write(fd, b"again")
        since = requests(sides.mounted) - before
    assert since[WRITE] == 50
    assert since[GETXATTR] < 5  # for the statistics, and after those have been asked for perhaps once more


@pytest.mark.parametrize("mode", [0o2666, 0o2676, 0o4755, 0o6666, 0o6777])
@pytest.mark.parametrize("uid", [0, NOBODY])
@pytest.mark.parametrize("groups", [[], [GROUP]])
def test_another_owner_takes_away_what_it_takes_natively(
    any_sides: Sides, mode: int, uid: int, groups: list[int]
) -> None:
    """chown(2) drops setuid of anybody; setgid without execution stays with the group and with CAP_FSETID."""
    prepare(any_sides, mode)

    def give(root: Path) -> None:
        os.chown(root / "f", uid, GROUP)
        os.chmod(root / "f", mode)

    any_sides.both(give)
    any_sides.as_caller(lambda root: os.chown(root / "f", uid, -1), uid=uid, gid=uid, groups=groups)
    left(any_sides)
    any_sides.as_caller(lambda root: os.chown(root / "f", -1, uid), uid=uid, gid=uid, groups=groups)
    kept, _ = left(any_sides)
    assert not kept & stat.S_ISUID
    if mode == 0o2666 and (uid == 0 or groups):
        assert kept & stat.S_ISGID


def test_who_has_cap_fsetid_keeps_the_bits_whoever_it_is(any_sides: Sides) -> None:
    """A user other than root; and mapped pages, whose writing takes nothing away."""
    prepare(any_sides, 0o6777)
    program = "import os; f = os.open('f', os.O_WRONLY); os.pwrite(f, b'x', 0)"
    ids = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    capable = ("--inh-caps=+fsetid", "--ambient-caps=+fsetid")

    def act(root: Path) -> None:
        subprocess.run(["setpriv", *ids, *capable, "/usr/bin/python3", "-c", program], cwd=root, check=True)

    any_sides.both(act)
    assert left(any_sides) == (0o6777, [])


def test_mapped_pages_take_no_bits_away(sides: Sides) -> None:
    def act(root: Path) -> None:
        with opened(root / "f", os.O_RDWR) as fd, mmap.mmap(fd, 8192) as pages:
            pages[0] = 1
            pages.flush()

    prepare(sides, 0o6777)
    assert sides.as_caller(act) is None
    assert left(sides) == (0o6777, [])


@pytest.mark.parametrize("mode", [0o666, 0o4755, 0o2666, 0o6777])
@pytest.mark.parametrize("owner", [0, NOBODY])
def test_a_chown_of_nothing_takes_no_bits_from_others(any_sides: Sides, mode: int, owner: int) -> None:
    prepare(any_sides, mode)
    any_sides.both(lambda root: os.chown(root / "f", owner, -1))
    any_sides.both(lambda root: os.chmod(root / "f", mode))
    result = any_sides.as_caller(lambda root: os.chown(root / "f", -1, -1))
    assert result == ("EPERM" if mode & 0o6000 and owner == 0 else None)
    left(any_sides)


@pytest.mark.root
def test_another_pid_namespaces_processes_lend_no_rights() -> None:
    """A server started by unshare --pid without a /proc of its own sees others by its callers' numbers."""
    program = f"from fusecopy.filesystem.credentials import standing; print(standing({os.getpid()}))"
    python = [sys.executable, "-c", program]
    ours = subprocess.run(python, capture_output=True, text=True, timeout=30, check=True).stdout
    theirs = subprocess.run(
        ["unshare", "--pid", "--fork", *python], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert ours != "([], 0)\n"
    assert theirs == "([], 0)\n"
