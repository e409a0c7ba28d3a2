"""Room that the backing gives to some and not to others: users of root's mount have as much as natively.

ext4 keeps blocks for root, for one more user (resuid) and for a group (resgid); btrfs lets who has
CAP_SYS_RESOURCE exceed a qgroup's limit where quota_override is set. Each test fills what everybody may have,
and then tries each way to take more, in the mount and natively.
"""

import mmap
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import loopfs
from tests.conftest import require
from tests.loopfs import MIB
from tests.mount.sides import NOBODY, Sides, as_caller, opened
from tests.mounted import FUSECOPY, Mounted, mounted

GROUP = 4321
BLOCK = 4096


def append(root: Path) -> None:
    with opened(root / "f", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"x" * BLOCK)


def write(root: Path) -> None:
    with opened(root / "f", os.O_WRONLY) as fd:
        os.pwrite(fd, b"x" * BLOCK, MIB)


def write_setgid(root: Path) -> None:
    with opened(root / "setgid", os.O_WRONLY) as fd:
        os.pwrite(fd, b"x" * BLOCK, MIB)


def send(root: Path) -> None:
    with opened(root / "source", os.O_RDONLY) as source, opened(root / "f", os.O_WRONLY) as fd:
        os.lseek(fd, MIB, os.SEEK_SET)
        os.sendfile(fd, source, 0, BLOCK)


def copy(root: Path) -> None:
    with opened(root / "source", os.O_RDONLY) as source, opened(root / "f", os.O_WRONLY) as fd:
        os.copy_file_range(source, fd, BLOCK, 0, MIB)


def allocate(root: Path) -> None:
    with opened(root / "f", os.O_WRONLY) as fd:
        os.posix_fallocate(fd, MIB, BLOCK)


def make_directory(root: Path) -> None:
    os.mkdir(root / "d")
    os.rmdir(root / "d")


def make_link(root: Path) -> None:
    os.symlink("x" * 1000, root / "s")
    os.unlink(root / "s")


def set_attribute(root: Path) -> None:
    os.setxattr(root / "f", "user.large", b"x" * 3000)
    os.removexattr(root / "f", "user.large")


def create(root: Path) -> None:
    with opened(root / "new", os.O_RDWR | os.O_CREAT) as fd:
        try:
            os.write(fd, b"x" * BLOCK)
        finally:
            os.unlink(root / "new")


WAYS: dict[str, Callable[[Path], None]] = {
    way.__name__: way
    for way in (
        append,
        write,
        write_setgid,
        send,
        copy,
        allocate,
        make_directory,
        make_link,
        set_attribute,
        create,
    )
}


def fill(root: Path) -> None:
    """Take all that everybody may have."""
    with opened(root / "filling", os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fd:
        for size in (MIB, BLOCK):
            with suppress(OSError):
                while True:
                    os.write(fd, b"x" * size)
        # What is not on the disk yet may take more there than was put aside for it.
        os.fsync(fd)
        with suppress(OSError):
            while True:
                os.write(fd, b"x" * BLOCK)


def _filled(mount: Mounted, native: Path) -> Sides:
    sides = Sides(mount, mount.path, mount.backing, native)
    for root in (mount.path, native):
        root.chmod(0o777)
        for name in ("f", "source", "setgid"):
            (root / name).write_bytes(b"s" * BLOCK)
            (root / name).chmod(0o666)
            os.chown(root / name, NOBODY, NOBODY)
        (root / "setgid").chmod(0o2666)
    os.sync()
    return sides


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """ext4 with a quarter of it kept for root, filled."""
    yield from _serve(tmp_path_factory.mktemp("room"))


@pytest.fixture(scope="module")
def full_passthrough(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """The same with kernel passthrough."""
    yield from _serve(tmp_path_factory.mktemp("room"), "--passthrough")


def _serve(directory: Path, *arguments: str) -> Iterator[Sides]:
    require("fuse", "root", "loop")
    options = f"resgid={GROUP}"
    with loopfs.mounted("ext4", directory, 64 * MIB, ("-m", "25"), options) as filesystem:
        backing, native = filesystem / "served", filesystem / "native"
        backing.mkdir()
        native.mkdir()
        with mounted(backing, "-o", "allow_other", *arguments) as mount:
            sides = _filled(mount, native)
            as_caller(native, fill)
            assert os.statvfs(native).f_bavail == 0
            yield sides


@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_for_root_is_not_for_users(full: Sides, way: str) -> None:
    assert full.as_caller(WAYS[way]) == "ENOSPC"


@pytest.mark.parametrize("way", WAYS)
def test_nor_is_it_where_the_kernel_writes_by_itself(full_passthrough: Sides, way: str) -> None:
    assert full_passthrough.as_caller(WAYS[way]) == "ENOSPC"


@pytest.mark.parametrize("way", WAYS)
def test_root_has_what_is_kept_for_it(full: Sides, way: str) -> None:
    assert full.as_caller(WAYS[way], uid=0, gid=0) is None
    _shorten(full)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "set_attribute"])
@pytest.mark.parametrize("groups", [[], [GROUP]])
def test_a_group_may_have_it_too(full: Sides, way: str, groups: list[int]) -> None:
    """Also one that the caller has besides its own, for which the server has to look."""
    gid = NOBODY if groups else GROUP
    natively = as_caller(full.native, WAYS[way], gid=gid, groups=groups)
    assert natively is None
    assert as_caller(full.mount, WAYS[way], gid=gid, groups=groups) is None
    _shorten(full)


def test_mapped_pages_are_paid_for_by_who_opened_the_file(full: Sides) -> None:
    """Natively the page fault fails (SIGBUS); here the kernel writes the page later, and msync(2) tells."""

    def act(root: Path) -> None:
        with opened(root / "f", os.O_RDWR) as fd:
            os.truncate(fd, 2 * BLOCK)
            with mmap.mmap(fd, 2 * BLOCK) as pages:
                pages[BLOCK] = 1
                pages.flush()

    assert as_caller(full.mount, act) == "ENOSPC"
    assert as_caller(full.mount, act, uid=0, gid=0) is None
    _shorten(full)


def _shorten(full: Sides) -> None:
    for root in (full.mount, full.native):
        for name in ("f", "setgid"):
            os.truncate(root / name, BLOCK)
            os.chown(root / name, NOBODY, NOBODY)
        (root / "setgid").chmod(0o2666)
    os.sync()


@pytest.mark.parametrize("uid", [0, NOBODY])
def test_a_limit_of_btrfs_is_the_same_for_all(tmp_path: Path, uid: int) -> None:
    """Root with CAP_SYS_RESOURCE exceeds it, whoever serves; nobody else does."""
    require("fuse", "root", "loop")
    with loopfs.mounted("btrfs", tmp_path, 256 * MIB) as filesystem:
        loopfs.run("btrfs", "quota", "enable", filesystem)
        uuid = loopfs.run("findmnt", "-no", "UUID", filesystem).strip()
        with suppress(PermissionError):  # a root without CAP_SYS_RESOURCE: then nobody exceeds it
            Path(f"/sys/fs/btrfs/{uuid}/quota_override").write_text("1")
        for name in ("served", "native"):
            loopfs.run("btrfs", "subvolume", "create", filesystem / name)
            loopfs.run("btrfs", "qgroup", "limit", "8M", filesystem / name)
        with mounted(filesystem / "served", "-o", "allow_other") as mount:
            sides = _filled(mount, filesystem / "native")

            def exceed(root: Path) -> None:
                with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
                    for number in range(16):
                        os.pwrite(fd, os.urandom(MIB), number * MIB)

            assert sides.as_caller(exceed, uid=uid, gid=uid) == "EDQUOT" or uid == 0
            if uid:
                assert sides.as_caller(copy) == "EDQUOT"


def test_a_clone_takes_no_more_than_its_caller_may(full: Sides) -> None:
    def clone(root: Path) -> tuple[bool, bool]:
        done = subprocess.run([FUSECOPY, "clone", "source", "cloned"], cwd=root, capture_output=True)
        return b"ENOSPC" in done.stderr or b"No space" in done.stderr, (root / "cloned").exists()

    assert as_caller(full.mount, clone) == (True, False)
