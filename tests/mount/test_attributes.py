"""Attributes: modes, owners, sizes, times, extended attributes, inode flags, the filesystem's own."""

import array
import fcntl
import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.loopfs import run
from tests.mount.sides import Sides, as_caller, opened

FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
NODUMP = 0x40
SECOND = 1_000_000_000


@pytest.mark.parametrize("mode", [0, 0o644, 0o1777, 0o2755, 0o4711, 0o7777])
def test_chmod_by_name_and_by_handle(sides: Sides, mode: int) -> None:
    def act(root: Path) -> tuple[int, int]:
        (root / "f").touch()
        os.chmod(root / "f", mode)
        by_name = (root / "f").stat().st_mode
        with opened(root / "f") as fd:
            os.fchmod(fd, mode ^ 0o070)
            return by_name, os.fstat(fd).st_mode

    assert sides.both(act) == (stat.S_IFREG | mode, stat.S_IFREG | mode ^ 0o070)


@pytest.mark.parametrize(("uid", "gid"), [(5, 6), (-1, 7), (8, -1), (4_000_000_000, 4_000_000_001)])
def test_chown(sides: Sides, uid: int, gid: int) -> None:
    def act(root: Path) -> tuple[int, ...]:
        (root / "f").touch()
        os.chmod(root / "f", 0o6755)
        os.chown(root / "f", uid, gid)
        (root / "s").symlink_to("nowhere")
        os.lchown(root / "s", uid, gid)
        st, link = (root / "f").stat(), (root / "s").lstat()
        return st.st_uid, st.st_gid, st.st_mode, link.st_uid, link.st_gid

    expected = (max(uid, 0), max(gid, 0))
    assert sides.both(act) == (*expected, stat.S_IFREG | 0o755, *expected)


@pytest.mark.parametrize("size", [0, 1, 4096, 100_001, (4 << 30) + 1])
def test_truncation_by_name_and_by_handle(sides: Sides, size: int) -> None:
    def act(root: Path) -> tuple[int, ...]:
        (root / "f").write_bytes(b"x" * 5000)
        os.truncate(root / "f", size)
        by_name = (root / "f").stat().st_size
        with opened(root / "f") as fd:
            os.ftruncate(fd, size + 1)
            return by_name, os.fstat(fd).st_size, os.fstat(fd).st_blocks

    sizes = sides.both(act)
    assert sizes[:2] == (size, size + 1)


def test_truncation_by_handle_outlives_the_right_to_write(sides: Sides) -> None:
    def act(root: Path) -> int:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.fchmod(fd, 0o400)
            os.ftruncate(fd, 77)
            return os.fstat(fd).st_size

    assert sides.as_caller(act) == 77


@pytest.mark.parametrize(
    ("atime", "mtime"),
    [
        (0, 1),
        (123 * SECOND + 999_999_999, 456 * SECOND),
        (-1, -1_500_000_001),
        (4_000_000_000 * SECOND + 7, 5),
    ],
)
def test_times(btrfs_sides: Sides, atime: int, mtime: int) -> None:
    def act(root: Path) -> tuple[int, ...]:
        (root / "f").touch()
        (root / "s").symlink_to("f")
        os.utime(root / "f", ns=(atime, mtime))
        os.utime(root / "s", ns=(mtime, atime), follow_symlinks=False)
        st, link = (root / "f").stat(), (root / "s").lstat()
        return st.st_atime_ns, st.st_mtime_ns, link.st_atime_ns, link.st_mtime_ns

    assert btrfs_sides.both(act) == (atime, mtime, mtime, atime)


def test_times_beyond_64_bits_of_nanoseconds(btrfs_sides: Sides) -> None:
    far = 10_000_000_000 * SECOND + 7

    def act(root: Path) -> tuple[int, int]:
        (root / "f").touch()
        os.utime(root / "f", ns=(far, far + 1))
        return (root / "f").stat().st_atime_ns, (root / "f").stat().st_mtime_ns

    assert btrfs_sides.both(act) == (far, far + 1)


def test_one_time_can_be_left_as_it_is(sides: Sides) -> None:
    def act(root: Path) -> tuple[int, bool]:
        (root / "f").touch()
        os.utime(root / "f", ns=(1, 2))
        subprocess.run(["touch", "-m", root / "f"], check=True)  # UTIME_OMIT and UTIME_NOW
        st = (root / "f").stat()
        return st.st_atime_ns, st.st_mtime_ns > SECOND

    assert sides.both(act) == (1, True)


def test_the_present_may_be_set_by_whoever_may_write(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        (root / "f").touch()
        os.chmod(root / "f", 0o666)
        os.utime(root / "f", ns=(1, 2))

    def now(root: Path) -> bool:
        os.utime(root / "f")
        return (root / "f").stat().st_mtime_ns > SECOND

    sides.both(set_up)
    assert sides.as_caller(now) is True
    assert sides.as_caller(lambda root: os.utime(root / "f", ns=(1, 2))) == "EPERM"


def test_reading_moves_the_access_time_as_the_backing_does(sides: Sides) -> None:
    def act(root: Path) -> tuple[bool, int]:
        (root / "f").write_bytes(b"x")
        os.utime(root / "f", ns=(1, 2))
        (root / "f").read_bytes()
        st = (root / "f").stat()
        return st.st_atime_ns > SECOND, st.st_mtime_ns

    assert sides.both(act) == (True, 2)


def test_blocks_are_the_backings(sides: Sides) -> None:
    def act(root: Path) -> tuple[int, int, int]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.pwrite(fd, b"x" * 4096, 10 << 20)
            os.fsync(fd)
        st = (root / "f").stat()
        return st.st_blocks, st.st_blksize, st.st_size

    blocks, blksize, size = sides.both(act)
    assert (blocks, blksize, size) == (8, 4096, (10 << 20) + 4096)


@pytest.mark.parametrize("name", ["user.a", "trusted.a", "security.a"])
def test_extended_attributes(sides: Sides, name: str) -> None:
    def act(root: Path) -> tuple[object, ...]:
        path = root / "f"
        path.touch()
        os.setxattr(path, name, b"1", os.XATTR_CREATE)
        os.setxattr(path, name, b"\0binary\xff", os.XATTR_REPLACE)
        value, names = os.getxattr(path, name), os.listxattr(path)
        os.removexattr(path, name)
        return value, names, os.listxattr(path)

    assert sides.both(act) == (b"\0binary\xff", [name], [])


@pytest.mark.parametrize(
    ("flags", "present", "expected"),
    [(os.XATTR_CREATE, True, "EEXIST"), (os.XATTR_REPLACE, False, "ENODATA")],
)
def test_extended_attribute_flags(sides: Sides, flags: int, present: bool, expected: str) -> None:
    def act(root: Path) -> None:
        (root / "f").touch()
        if present:
            os.setxattr(root / "f", "user.a", b"")
        os.setxattr(root / "f", "user.a", b"x", flags)

    assert sides.both(act) == expected


def test_extended_attributes_refused(sides: Sides) -> None:
    def act(name: str, length: int) -> object:
        def on(root: Path) -> None:
            (root / "f").touch()
            os.setxattr(root / "f", name, b"x" * length)

        return sides.both(on)

    assert act("user.a", 65536) == "ENOSPC" or act("user.a", 65537) == "E2BIG"
    assert act("nosuchnamespace.a", 1) == "ENOTSUP"
    assert sides.both(lambda root: os.removexattr(root / "f", "user.none")) == "ENODATA"
    assert sides.both(lambda root: os.getxattr(root / "f", "user.none")) == "ENODATA"


def test_trusted_names_are_roots_to_know(sides: Sides) -> None:
    """As xattr(7) has it, and as ext4 and XFS do it; btrfs lists them to everybody."""
    path = sides.mount / "f"
    path.touch()
    os.setxattr(path, "trusted.secret", b"1")
    os.setxattr(path, "user.public", b"2")
    assert as_caller(sides.mount, lambda root: os.listxattr(root / "f")) == ["user.public"]
    assert as_caller(sides.mount, lambda root: os.getxattr(root / "f", "trusted.secret")) == "ENODATA"
    assert sorted(os.listxattr(path)) == ["trusted.secret", "user.public"]


def test_a_symlink_takes_trusted_attributes_and_no_others(sides: Sides) -> None:
    def act(root: Path) -> list[str]:
        (root / "s").symlink_to("nowhere")
        os.setxattr(root / "s", "trusted.a", b"1", follow_symlinks=False)
        return os.listxattr(root / "s", follow_symlinks=False)

    assert sides.both(act) == ["trusted.a"]
    assert sides.both(lambda root: os.setxattr(root / "s", "user.a", b"", follow_symlinks=False)) == "EPERM"


def test_inode_flags(sides: Sides) -> None:
    def flags(fd: int) -> int:
        buffer = array.array("L", [0])
        fcntl.ioctl(fd, FS_IOC_GETFLAGS, buffer)
        return buffer[0]

    def act(root: Path) -> tuple[bool, bool]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            before = flags(fd)
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, array.array("L", [before | NODUMP]))
            file = flags(fd) == before | NODUMP
        with opened(root, os.O_RDONLY | os.O_DIRECTORY) as fd:
            return file, flags(fd) & NODUMP == 0

    assert sides.both(act) == (True, True)


def test_chattr_immutable_is_kept_by_the_backing(btrfs_sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        (root / "f").touch()
        subprocess.run(["chattr", "+i", root / "f"], check=True)
        shown = subprocess.run(["lsattr", root / "f"], check=True, capture_output=True, text=True).stdout
        try:
            (root / "f").write_bytes(b"")
            refused = None
        except PermissionError as error:
            refused = error.errno
        subprocess.run(["chattr", "-i", root / "f"], check=True)
        return shown.split()[0], refused

    assert btrfs_sides.both(act) == ("----i-----------------", 1)


@pytest.mark.parametrize("command", [0x5401, 0x1234, 0xC0040001, 0x80045430])
def test_other_ioctls_are_no_terminals(sides: Sides, command: int) -> None:
    def act(root: Path) -> None:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            assert not os.isatty(fd)
            fcntl.ioctl(fd, command, bytes(64))

    assert sides.both(act) == "ENOTTY"


def test_statfs_is_the_backings(sides: Sides) -> None:
    through, native = os.statvfs(sides.mount), os.statvfs(sides.native)
    for field in ("f_bsize", "f_frsize", "f_blocks", "f_namemax"):
        assert getattr(through, field) == getattr(native, field)
    assert abs(through.f_bfree - native.f_bfree) < 1000


def test_blocks_are_right_once_a_file_is_closed(any_sides: Sides) -> None:
    """XFS allocates ahead of writes, and takes back when the file is closed what was not written."""

    def write(root: Path) -> None:
        with opened(root / "f", os.O_WRONLY | os.O_CREAT) as fd:
            for _ in range(200):
                os.write(fd, b"x" * 40_000)
                os.fstat(fd)

    write(any_sides.mount)
    expected = 8_000_000 // 512
    for _ in range(100_000):
        if (any_sides.mount / "f").stat().st_blocks < expected + 128:
            break
    assert (any_sides.mount / "f").stat().st_blocks == (any_sides.behind / "f").stat().st_blocks


def born(path: Path) -> str:
    """The time of creation, which Python's stat does not ask for."""
    return run("stat", "-c", "%W %w", path)


def test_the_time_of_creation(any_sides: Sides) -> None:
    (any_sides.mount / "f").touch()
    (any_sides.mount / "d").mkdir()
    os.utime(any_sides.mount / "f", (1, 1))
    for name in ("f", "d"):
        assert born(any_sides.mount / name) == born(any_sides.behind / name) != "0 -\n"
    os.rename(any_sides.mount / "f", any_sides.mount / "g")
    assert born(any_sides.mount / "g") == born(any_sides.behind / "g")
    with opened(any_sides.mount / "g", os.O_RDWR) as fd:
        os.write(fd, b"longer")
        run("stat", "-c", "%w", any_sides.mount / "g")
        assert os.fstat(fd).st_size == 6
