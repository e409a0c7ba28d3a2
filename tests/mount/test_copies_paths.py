"""Which path carried a copy, what it shares, and that the bytes are right: cp inside the mount, each path."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fusecopy.dispatch.records import Copy, Requests
from tests import loopfs
from tests.loopfs import MIB, run
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise
from tests.tracepoints import COPY, COPY_64, traced

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

GIB = 1 << 30
SIZE = 16 * MIB
EXTENT = re.compile(r"^ *\d+: *\d+\.\. *\d+: *(\d+)\.\. *(\d+): .*?([a-z,]*)$", re.MULTILINE)
KERNEL = tuple(int(number) for number in os.uname().release.split(".")[:2])

ONE_REQUEST = Requests(copies=1)


def extents(name: Path) -> list[tuple[str, str]]:
    """Where on the device the file lies, as filefrag sees it; fails where an extent is not shared."""
    found = EXTENT.findall(run("filefrag", "-v", name))
    assert found
    assert all("shared" in flags for *_, flags in found)
    return [(first, last) for first, last, _ in found]


@pytest.fixture(params=["btrfs", "xfs"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A filesystem with room for a gibibyte."""
    with loopfs.mounted(request.param, tmp_path, size=3 * GIB) as point:
        yield point


@pytest.mark.timeout(120)
def test_cp_of_one_gibibyte_is_one_request_and_shares_all(large: Path) -> None:
    block = noise(MIB)
    with (large / "a").open("wb") as file:
        for number in range(1024):
            file.write(number.to_bytes(4, "little") + block[4:])
    os.sync()
    with mounted(large) as mount, traced(mount.connection) as trace:
        run("cp", mount.path / "a", mount.path / "b")
        [copy] = mount.copies(1)
        assert trace.copies() == 1
        run("cmp", mount.path / "a", mount.path / "b")
    assert (copy.comm, copy.asked, copy.src, copy.dst) == ("cp", "copy_file_range", "a", "b")
    assert (copy.dispatch, copy.path, copy.paths) == ("dispatched", "reflink", {"reflink": GIB})
    assert (copy.length, copy.copied) == (GIB, GIB)
    assert (copy.shared, copy.shared_before, copy.rewritten, copy.proof) == (GIB, 0, 0, "fiemap")
    assert copy.requests == ONE_REQUEST
    assert copy.errno is copy.cause is None
    assert extents(large / "a") == extents(large / "b")


@pytest.mark.skipif(KERNEL < (6, 18), reason="COPY_FILE_RANGE_64 came with Linux 6.18; 47 is cut to 4 GiB")
def test_ten_sparse_gibibytes_are_one_request(sharing_backing: Path) -> None:
    source = sharing_backing / "a"
    with source.open("wb") as file:
        for offset in (0, 3 * GIB, 10 * GIB - MIB):
            os.pwrite(file.fileno(), noise(MIB, offset), offset)
    with mounted(sharing_backing) as mount, traced(mount.connection) as trace:
        with (mount.path / "a").open("rb") as a, (mount.path / "b").open("wb") as b:
            assert os.copy_file_range(a.fileno(), b.fileno(), 10 * GIB) == 10 * GIB
        [copy] = mount.copies(1)
        assert trace.requests()[COPY] == 0
        assert trace.requests()[COPY_64] == 1
    assert (copy.copied, copy.paths) == (10 * GIB, {"reflink": 10 * GIB})
    assert (copy.shared, copy.holes, copy.rewritten) == (3 * MIB, 10 * GIB - 3 * MIB, 0)
    assert copy.requests == ONE_REQUEST
    for offset in (0, 3 * GIB, 10 * GIB - MIB):
        with (sharing_backing / "b").open("rb") as file:
            assert os.pread(file.fileno(), MIB, offset) == noise(MIB, offset)


@pytest.mark.parametrize("path", ["copy_file_range", "splice", "sendfile", "readwrite"])
def test_cp_by_a_path_of_choice(sharing_backing: Path, path: str) -> None:
    copy = copied(sharing_backing, path)
    shares = path == "copy_file_range"
    assert (copy.dispatch, copy.path, copy.paths) == ("dispatched", path, {path: SIZE})
    assert (copy.copied, copy.shared, copy.rewritten) == (SIZE, SIZE * shares, SIZE * (not shares))
    assert copy.proof == ("fiemap" if shares else "written")
    assert copy.requests == ONE_REQUEST
    assert copy.errno is copy.cause is None
    if shares:
        assert extents(sharing_backing / "a") == extents(sharing_backing / "b")


def test_64_mebibytes_by_splice_are_one_record(sharing_backing: Path) -> None:
    copy = copied(sharing_backing, "splice", 64 * MIB)
    assert (copy.paths, copy.shared, copy.rewritten) == ({"splice": 64 * MIB}, 0, 64 * MIB)


def copied(backing: Path, path: str, size: int = SIZE) -> Copy:
    """The record of a file copied by cp over one path."""
    (backing / "a").write_bytes(noise(size))
    with mounted(backing, "--paths", path) as mount:
        run("cp", mount.path / "a", mount.path / "b")
        [copy] = mount.copies(1)
    assert (backing / "b").read_bytes() == noise(size)
    return copy


def test_ext4_goes_down_the_ladder_and_says_why(ext4: Path) -> None:
    directory = ext4 / "ladder"
    directory.mkdir()
    (directory / "a").write_bytes(noise(SIZE))
    with mounted(directory) as mount:
        run("cp", mount.path / "a", mount.path / "b")
        [copy] = mount.copies(1)
    assert (directory / "b").read_bytes() == noise(SIZE)
    assert [(a.path, a.carried, a.errno) for a in copy.attempts] == [
        ("reflink", 0, "EOPNOTSUPP"),
        ("copy_file_range", SIZE, None),
    ]
    assert (copy.dispatch, copy.path, copy.shared, copy.rewritten) == (
        "dispatched",
        "copy_file_range",
        0,
        SIZE,
    )
    assert copy.cause is not None
    assert "ext4" in copy.cause
    assert copy.remedy


def test_70000_bytes_of_a_larger_file_are_one_record_of_two_paths(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(200_000))
    with mounted(sharing_backing) as mount:
        with (mount.path / "a").open("rb") as a, (mount.path / "b").open("wb") as b:
            assert os.copy_file_range(a.fileno(), b.fileno(), 70_000) == 70_000
        [copy] = mount.copies(1)
    assert (sharing_backing / "b").read_bytes() == noise(200_000)[:70_000]
    assert copy.paths == {"reflink": 69_632, "copy_file_range": 368}
    assert (copy.dispatch, copy.path, copy.length, copy.copied) == ("dispatched", "reflink", 70_000, 70_000)
    assert (copy.shared, copy.rewritten, copy.requests) == (69_632, 368, ONE_REQUEST)
    assert "block" in (copy.cause or "")


def test_copy_onto_what_is_shared_already(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing) as mount:
        run("cp", mount.path / "a", mount.path / "b")
        with (mount.path / "a").open("rb") as a, (mount.path / "b").open("r+b") as b:
            assert os.copy_file_range(a.fileno(), b.fileno(), SIZE) == SIZE
        first, second = mount.copies(2)
    assert (first.shared_before, second.shared_before) == (0, SIZE)
    assert (second.shared, second.rewritten) == (SIZE, 0)


def test_policy_changes_between_copies(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(MIB))
    with mounted(sharing_backing) as mount:
        for path in ("splice", "readwrite", "reflink"):
            mount.policy(f"paths={path}")
            assert mount.attribute("policy") == f"paths={path}"
            run("cp", mount.path / "a", mount.path / path)
        copies = mount.copies(3)
        assert [copy.path for copy in copies] == ["splice", "readwrite", "reflink"]
        with pytest.raises(OSError, match="Invalid argument"):
            mount.policy("paths=teleport")
        assert mount.attribute("policy") == "paths=reflink"
        assert last_copy(mount, "reflink") == copies[2]
        assert os.listxattr(mount.path / "reflink") == os.listxattr(mount.path) == []


def last_copy(mount: Mounted, name: str) -> Copy:
    """What the file's own attribute says of the last copy into it."""
    return msgspec.json.decode(os.getxattr(mount.path / name, "user.fusecopy.copy"), type=Copy)


def test_getfattr_shows_the_attributes(sharing_backing: Path) -> None:
    with mounted(sharing_backing) as mount:
        names = ("pid", "log", "backing", "version", "policy", "stats")
        for name in names:
            shown = subprocess.run(
                ["getfattr", "--only-values", "-n", f"user.fusecopy.{name}", mount.path],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            ).stdout
            # The requests are counted on, those for this attribute too.
            assert shown.partition('"requests"')[0] == mount.attribute(name).partition('"requests"')[0]
        assert mount.attribute("pid") == str(mount.process.pid)
        assert mount.attribute("log") == str(mount.log)
        assert mount.attribute("backing") == str(sharing_backing)
        assert run("getfattr", "-d", "-m-", mount.path) == ""
