"""Open files: flags of open, reads and writes, allocation, holes, mapped memory, direct and vectored I/O."""

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from tests.mount.sides import NOBODY, Sides, as_caller, data_map, opened
from tests.mounted import descriptors

libc = ctypes.CDLL(None, use_errno=True)

MIB = 1 << 20
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, COLLAPSE = 1, 2, 16, 8


def fallocate(fd: int, mode: int, off: int, length: int) -> None:
    """fallocate(2)."""
    if libc.fallocate(fd, mode, ctypes.c_int64(off), ctypes.c_int64(length)) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (0, b"XXXold"),
        (os.O_TRUNC, b"XXX"),
        (os.O_APPEND, b"oldoldXXX"),
        (os.O_SYNC, b"XXXold"),
        (os.O_DSYNC, b"XXXold"),
        (os.O_NOATIME, b"XXXold"),
        (os.O_NOFOLLOW, b"XXXold"),
        (os.O_NONBLOCK, b"XXXold"),
        (os.O_EXCL, "EEXIST"),
        (os.O_DIRECTORY, "EINVAL"),
    ],
)
def test_open_flags_on_a_file_that_exists(sides: Sides, flag: int, expected: object) -> None:
    def act(root: Path) -> bytes:
        (root / "f").write_bytes(b"oldold")
        with opened(root / "f", os.O_RDWR | os.O_CREAT | flag) as fd:
            os.write(fd, b"XXX")
        return (root / "f").read_bytes()

    assert sides.both(act) == expected


def test_open_of_what_is_no_file(sides: Sides) -> None:
    def act(flags: int) -> object:
        def on(root: Path) -> None:
            (root / "d").mkdir(exist_ok=True)
            if not (root / "s").is_symlink():
                (root / "s").symlink_to("loop")
                (root / "loop").symlink_to("s")
            name = "d" if flags & os.O_RDWR else "s"
            with opened(root / name, flags):
                raise AssertionError

        return sides.both(on)

    assert act(os.O_RDWR) == "EISDIR"
    assert act(os.O_RDONLY) == "ELOOP"
    assert act(os.O_RDONLY | os.O_NOFOLLOW) == "ELOOP"


def link_unnamed(fd: int, path: Path) -> None:
    """linkat(2), which follows the link in /proc to the very file."""
    with opened(path.parent, os.O_RDONLY | os.O_DIRECTORY) as directory:
        os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=directory, follow_symlinks=True)


def test_unnamed_files(any_sides: Sides) -> None:
    """O_TMPFILE: nobody sees it until it has a name, which it may get once or more."""

    def act(root: Path) -> list[object]:
        os.umask(0o027)
        with opened(root, os.O_TMPFILE | os.O_RDWR, 0o666) as fd:
            os.write(fd, b"unnamed")
            found: list[object] = [os.fstat(fd).st_nlink, oct(os.fstat(fd).st_mode), os.listdir(root)]
            link_unnamed(fd, root / "a")
            link_unnamed(fd, root / "b")
            found += [os.fstat(fd).st_nlink, (root / "a").stat().st_ino == os.fstat(fd).st_ino]
            os.rename(root / "a", root / "c")
            os.unlink(root / "b")
            os.pwrite(fd, b"U", 0)
            found += [os.fstat(fd).st_nlink, (root / "c").read_bytes(), os.stat(root / "c").st_uid]
            os.unlink(root / "c")
            return [*found, os.pread(fd, 10, 0)]

    expected = [0, "0o100640", [], 2, True, 1, b"Unnamed", NOBODY, b"Unnamed"]
    assert any_sides.as_caller(act) == expected


def test_unnamed_files_without_rights_or_a_future(any_sides: Sides) -> None:
    def excluded(root: Path) -> None:
        with opened(root, os.O_TMPFILE | os.O_RDWR | os.O_EXCL) as fd:
            link_unnamed(fd, root / "a")

    def read_only(root: Path) -> None:
        (root / "closed").mkdir(mode=0o555, exist_ok=True)
        with opened(root / "closed", os.O_TMPFILE | os.O_RDWR):
            pass

    assert any_sides.as_caller(excluded) == "ENOENT"
    assert any_sides.as_caller(read_only) == "EACCES"


def test_a_copy_into_an_unnamed_file(btrfs_sides: Sides) -> None:
    (btrfs_sides.mount / "source").write_bytes(b"s" * 100_000)
    with (
        opened(btrfs_sides.mount / "source", os.O_RDONLY) as source,
        opened(btrfs_sides.mount, os.O_TMPFILE | os.O_RDWR) as fd,
    ):
        assert os.copy_file_range(source, fd, 100_000) == 100_000
        link_unnamed(fd, btrfs_sides.mount / "linked")
    assert (btrfs_sides.behind / "linked").read_bytes() == b"s" * 100_000
    assert os.listxattr(btrfs_sides.behind / "linked") == []


def test_many_unnamed_files_leave_no_descriptor(btrfs_sides: Sides) -> None:
    def held() -> int:
        return descriptors(btrfs_sides.mounted.process.pid)

    before = held()
    for _ in range(50):
        with opened(btrfs_sides.mount, os.O_TMPFILE | os.O_RDWR):
            pass
    for _ in range(100_000):
        if held() <= before + 2:  # what was asked meanwhile is closed later
            break
    assert held() <= before + 2


def test_what_is_created_can_be_written_whatever_its_mode(sides: Sides) -> None:
    def act(root: Path) -> bytes:
        with opened(root / "f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0) as fd:
            os.write(fd, b"x")
            return os.pread(fd, 2, 0)

    assert sides.as_caller(act) == b"x"


def test_appending_goes_to_the_end_that_the_backing_has_now(sides: Sides) -> None:
    """The kernel's idea of the end is as old as its attributes; nothing written meanwhile may be lost."""
    (sides.mount / "f").write_bytes(b"one")
    with opened(sides.mount / "f", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"two")
        with opened(sides.behind / "f", os.O_WRONLY | os.O_APPEND) as behind:
            os.write(behind, b"THREE")
        os.write(fd, b"four")
        os.write(fd, b"x" * (3 * MIB))
    assert (sides.behind / "f").read_bytes() == b"onetwoTHREEfour" + b"x" * (3 * MIB)


def test_a_descriptor_that_no_longer_appends_takes_a_copy(sides: Sides) -> None:
    import fcntl

    (sides.mount / "a").write_bytes(b"abcdef")
    with (
        opened(sides.mount / "a") as source,
        opened(sides.mount / "b", os.O_RDWR | os.O_CREAT | os.O_APPEND) as fd,
    ):
        os.write(fd, b"12345678")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.copy_file_range(source, fd, 6, 0, 0)
        fcntl.fcntl(fd, fcntl.F_SETFL, 0)
        assert os.copy_file_range(source, fd, 6, 0, 1) == 6
    assert (sides.behind / "b").read_bytes() == b"1abcdef8"


@pytest.mark.parametrize("length", [1, 4095, 4096, 131072, MIB, 5 * MIB + 3])
def test_reads_and_writes_of_all_sizes(sides: Sides, length: int) -> None:
    data = os.urandom(length)

    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            written = os.pwrite(fd, data, 7)
            os.fdatasync(fd)
            return written, os.pread(fd, length + 100, 0) == bytes(7) + data, os.pread(fd, 1, length + 7)

    assert sides.both(act) == (length, True, b"")
    assert (sides.behind / "f").read_bytes() == bytes(7) + data


def test_offsets_over_4_gib(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.pwrite(fd, b"far", (5 << 30) + 1)
            return os.pread(fd, 9, 5 << 30), os.fstat(fd).st_size, os.lseek(fd, 1, os.SEEK_DATA)

    assert sides.both(act) == (b"\0far", (5 << 30) + 4, 5 << 30)


@pytest.mark.parametrize("mode", [0, KEEP_SIZE, KEEP_SIZE | PUNCH_HOLE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE])
@pytest.mark.parametrize(
    ("off", "length"), [(0, 4096), (100, 50), (4096, 65536), (2 * MIB, 9), (9, 0), (-1, 5)]
)
def test_allocation(sides: Sides, mode: int, off: int, length: int) -> None:
    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.pwrite(fd, b"x" * 100_000, 0)
            os.fsync(fd)
            fallocate(fd, mode, off, length)
            os.fsync(fd)
            st = os.fstat(fd)
            return st.st_size, st.st_blocks, data_map(fd), os.pread(fd, 200_000, 0)

    result = sides.both(act)
    assert (result == "EINVAL") == (length <= 0 or off < 0)


def test_collapsing_is_beyond_fuse(sides: Sides) -> None:
    """The kernel itself refuses all but the modes above (fs/fuse/file.c, fuse_file_fallocate)."""
    with (
        opened(sides.mount / "f", os.O_RDWR | os.O_CREAT) as fd,
        pytest.raises(OSError, match="not supported"),
    ):
        fallocate(fd, COLLAPSE, 0, 4096)


def test_holes_and_data(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.pwrite(fd, b"x" * 4096, MIB)
            os.ftruncate(fd, 2 * MIB)
            found = []
            for off in (0, 5, MIB, MIB + 4096, 2 * MIB - 1, 2 * MIB, -1):
                for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                    try:
                        found.append(os.lseek(fd, off, whence))
                    except OSError as error:
                        found.append(-(error.errno or 0))
            return data_map(fd), found

    data, found = sides.both(act)
    assert data == [(MIB, MIB + 4096)]
    assert found[:4] == [MIB, 0, MIB, 5]


def test_shared_mappings_reach_the_backing(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.ftruncate(fd, 3 * 4096)
            with mmap.mmap(fd, 3 * 4096) as memory:
                memory[4096:4104] = b"mapped!!"
                memory.flush()
                read = os.pread(fd, 8, 4096)
                os.ftruncate(fd, 4096 + 4)
                os.ftruncate(fd, 3 * 4096)
                return read, memory[4096:4104], os.pread(fd, 8, 4096)

    assert sides.both(act) == (b"mapped!!", b"mapp\0\0\0\0", b"mapp\0\0\0\0")
    assert (sides.behind / "f").read_bytes()[4096:4104] == b"mapp\0\0\0\0"


def test_a_mapping_outlives_its_descriptor(sides: Sides) -> None:
    def act(root: Path) -> bytes:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.ftruncate(fd, 4096)
            memory = mmap.mmap(fd, 4096)
        memory[:3] = b"abc"
        memory.close()
        return (root / "f").read_bytes()[:3]

    assert sides.both(act) == b"abc"


def test_direct_io(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        with mmap.mmap(-1, 65536) as buffer:
            buffer[:] = b"d" * 65536
            with opened(root / "f", os.O_RDWR | os.O_CREAT | os.O_DIRECT) as fd:
                written = os.pwritev(fd, [buffer], 4096)
                buffer[:] = bytes(65536)
                return written, os.preadv(fd, [buffer], 4096), buffer[:3], os.fstat(fd).st_size

    assert sides.both(act) == (65536, 65536, b"ddd", 69632)


def test_vectored_io(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            written = os.pwritev(fd, [b"ab", b"c" * 9000], 3)
            one, other = bytearray(4), bytearray(5)
            return written, os.preadv(fd, [one, other], 2), bytes(one), bytes(other)

    assert sides.both(act) == (9002, 9, b"\0abc", b"ccccc")


def test_sync_and_locks(sides: Sides) -> None:
    import fcntl

    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd, opened(root / "f") as other:
            os.write(fd, b"x")
            os.fsync(fd)
            os.fdatasync(fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = False
            except BlockingIOError:
                locked = True
        with opened(root, os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.fsync(fd)
        return (locked,)

    assert sides.both(act) == (True,)


def test_o_path_gives_no_rights(sides: Sides) -> None:
    """A descriptor that was had without rights is opened anew with the rights of whoever opens it."""
    secret = sides.mount / "secret"
    secret.write_bytes(b"s")
    secret.chmod(0o600)

    def act(root: Path) -> bytes:
        with opened(root / "secret", os.O_PATH) as fd:
            return Path(f"/proc/self/fd/{fd}").read_bytes()

    assert as_caller(sides.mount, act) == "EACCES"
    assert as_caller(sides.mount, lambda root: (root / "secret").read_bytes()) == "EACCES"
