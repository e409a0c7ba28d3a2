"""Rules that a copy handler breaks at the price of data, rights or a hanging program."""

import mmap
import os
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Requests
from tests import loopfs
from tests.loopfs import MIB, run
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

SIZE = 4 * MIB
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
COPY_OVER = (
    "import os, sys; s, d = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY);"
    "assert os.copy_file_range(s, d, 1 << 20) == 1 << 20"
)


def copy(source: Path, destination: Path, length: int, off_in: int = 0, off_out: int = 0) -> int:
    """One copy_file_range(2) between two files that exist."""
    with source.open("rb") as s, destination.open("r+b") as d:
        return os.copy_file_range(s.fileno(), d.fileno(), length, off_in, off_out)


@pytest.mark.parametrize("path", ["reflink", "copy_file_range", "splice", "readwrite"])
def test_copy_by_an_ordinary_user_leaves_no_privileges(sharing_backing: Path, path: str) -> None:
    (sharing_backing / "a").write_bytes(noise(MIB))
    target = sharing_backing / "b"
    target.write_bytes(b"old")
    target.chmod(0o6777)
    run("setcap", "cap_net_raw+ep", target)
    target.chmod(0o6777)
    assert target.stat().st_mode & 0o7777 == 0o6777
    assert os.listxattr(target) == ["security.capability"]
    with mounted(sharing_backing, "-o", "allow_other", "--paths", path) as mount:
        run(*NOBODY, sys.executable, "-c", COPY_OVER, mount.path / "a", mount.path / "b")
        [record] = mount.copies(1)
        assert (record.uid, record.path) == (65534, path)
    assert stat.S_IMODE(target.stat().st_mode) == 0o777
    assert os.listxattr(target) == []
    assert target.read_bytes() == noise(MIB)


def test_overlapping_ranges_of_one_backing_file_are_refused(sharing_backing: Path) -> None:
    directory, view = sharing_backing / "d", sharing_backing / "view"
    directory.mkdir()
    (directory / "a").write_bytes(noise(SIZE))
    os.link(directory / "a", directory / "b")
    with loopfs.mount(view, "--bind", str(directory)), mounted(sharing_backing) as mount:
        for other in ("d/b", "view/a", "view/b"):
            with pytest.raises(OSError, match="Invalid argument"):
                copy(mount.path / "d/a", mount.path / other, SIZE // 2, 0, 4096)
            assert copy(mount.path / "d/a", mount.path / other, MIB, 0, 3 * MIB) == MIB
    assert (directory / "a").read_bytes() == noise(SIZE)[: 3 * MIB] + noise(SIZE)[:MIB]


def test_source_shrunk_behind_the_mount_gives_what_is_left_and_then_the_end(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing, "-o", "timeout=1000") as mount:
        assert (mount.path / "a").stat().st_size == SIZE
        with (mount.path / "a").open("rb") as a, (mount.path / "b").open("wb") as b:
            os.truncate(sharing_backing / "a", 10_000)
            assert os.copy_file_range(a.fileno(), b.fileno(), SIZE) == 10_000
            assert os.copy_file_range(a.fileno(), b.fileno(), SIZE) == 0
        first = mount.copies(1)[0]
    assert (first.length, first.copied, first.errno) == (10_000, 10_000, None)
    assert (sharing_backing / "b").read_bytes() == noise(SIZE)[:10_000]


@pytest.mark.parametrize("path", ["copy_file_range", "splice", "sendfile", "readwrite"])
def test_full_disk_gives_a_short_count_and_then_the_error(tmp_path: Path, path: str) -> None:
    with loopfs.mounted("ext4", tmp_path, size=64 * MIB) as backing:
        size = os.statvfs(backing).f_bavail * 4096 * 2 // 3
        (backing / "a").write_bytes(noise(size))
        with mounted(backing, "--paths", path) as mount:
            with (mount.path / "a").open("rb") as a, (mount.path / "b").open("wb") as b:
                count = os.copy_file_range(a.fileno(), b.fileno(), size)
                assert 0 < count < size
                assert os.fstat(b.fileno()).st_size == count
                with pytest.raises(OSError, match="No space left"):
                    os.copy_file_range(a.fileno(), b.fileno(), size)
            [record] = mount.copies(1)
            assert (mount.path / "b").read_bytes() == noise(size)[:count]
        assert (backing / "b").read_bytes() == noise(size)[:count]
    assert (record.dispatch, record.errno) == ("dispatched", "ENOSPC")
    assert (record.length, record.copied, record.paths) == (size, count, {path: count})
    assert record.requests == Requests(copies=2)


@pytest.mark.parametrize("path", ["reflink", "splice"])
def test_cached_pages_of_the_destination_are_right_after_a_copy(sharing_backing: Path, path: str) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    (sharing_backing / "b").write_bytes(noise(SIZE, 2))
    expected = noise(SIZE, 2)[:4096] + noise(SIZE)[: SIZE // 2]
    expected += noise(SIZE, 2)[len(expected) :]
    with mounted(sharing_backing, "--paths", path) as mount, (mount.path / "b").open("r+b") as b:
        assert b.read() == noise(SIZE, 2)
        with mmap.mmap(b.fileno(), 0) as mapped:
            assert mapped[:] == noise(SIZE, 2)
            mapped[SIZE - 3 :] = b"new"
            expected = expected[:-3] + b"new"
            assert copy(mount.path / "a", mount.path / "b", SIZE // 2, 0, 4096) == SIZE // 2
            assert mapped[:] == expected
        assert os.pread(b.fileno(), SIZE, 0) == expected
    assert (sharing_backing / "b").read_bytes() == expected


def test_a_hundred_copies_leave_room_for_other_requests(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(MIB))
    (sharing_backing / "other").write_bytes(b"read me")
    over, begun = threading.Event(), threading.Barrier(101, timeout=60)

    def copy_on(mount: Mounted, number: int) -> int:
        with (mount.path / "a").open("rb") as a, (mount.path / f"b{number}").open("wb") as b:
            done = os.copy_file_range(a.fileno(), b.fileno(), MIB, 0, 0)
            begun.wait()
            while not over.is_set():
                done += os.copy_file_range(a.fileno(), b.fileno(), MIB, 0, 0)
        return done

    with (
        mounted(sharing_backing, "--paths", "readwrite", "-o", "timeout=0") as mount,
        ThreadPoolExecutor(100) as pool,
    ):
        copies = [pool.submit(copy_on, mount, number) for number in range(100)]
        try:
            begun.wait()
            for _ in range(5):
                asked = time.monotonic()
                assert (mount.path / "other").read_bytes() == b"read me"
                assert (mount.path / "other").stat().st_size == 7
                assert time.monotonic() - asked < 5
            assert not any(future.done() for future in copies)
        finally:
            over.set()
        assert all(future.result() >= MIB for future in copies)
    for number in range(100):
        assert (sharing_backing / f"b{number}").read_bytes() == noise(MIB)


def test_policy_changes_while_copies_run(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(MIB))
    paths = ["reflink", "splice", "readwrite", "copy_file_range"]
    with mounted(sharing_backing) as mount:

        def copies(worker: int) -> None:
            for number in range(25):
                (mount.path / f"b{worker}.{number}").touch()
                assert copy(mount.path / "a", mount.path / f"b{worker}.{number}", MIB) == MIB

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(copies, worker) for worker in range(4)]
            while not all(future.done() for future in running):
                for path in paths:
                    mount.policy(f"paths={path}")
            for future in running:
                future.result()
        records = mount.copies(100)
    assert len(records) == 100
    for record in records:
        assert record.paths == {record.path: MIB}
        assert record.path in paths
        assert record.shared == (MIB if record.path in ("reflink", "copy_file_range") else 0)
    for name in sharing_backing.glob("b*"):
        assert name.read_bytes() == noise(MIB)


def test_a_source_that_grew_behind_the_mount_is_why_a_copy_ends_early(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(bytes(8192))
    with mounted(sharing_backing, "-o", "timeout=1000") as mount:
        with (mount.path / "a").open("rb") as source, (mount.path / "b").open("wb") as destination:
            with (sharing_backing / "a").open("ab") as behind:
                behind.write(bytes(4096))
            assert os.copy_file_range(source.fileno(), destination.fileno(), 1 << 30, 0, 0) == 8192
        (copy,) = mount.copies(1)
    assert copy.cause is not None
    assert copy.cause.startswith(
        "The request ended at 8192 bytes, the source's size as the kernel was last told"
    )
    assert copy.cause.endswith("it has 12288 now.")
