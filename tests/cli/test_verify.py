"""fusecopy verify: exact tables and sums for files made to have them, inside a mount and outside."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fusecopy.copying import calls
from fusecopy.errors import Exit
from tests import loopfs
from tests.mounted import FUSECOPY, mounted
from tests.reflink.files import BLOCK, Pair, noise, pair


def verify(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command: status, output, errors."""
    done = subprocess.run(
        [FUSECOPY, "verify", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def found(status: Exit, *arguments: str | Path) -> dict[str, Any]:
    """What --json says, when the command ends with `status`."""
    code, out, err = verify("--json", *arguments)
    assert code == status, err
    result: dict[str, Any] = json.loads(out)
    return result


def table(result: dict[str, Any], unit: int = BLOCK) -> list[tuple[float, float, str]]:
    """The extents as (offset, length, state), in blocks, with neighbours of one state joined."""
    joined: list[tuple[float, float, str]] = []
    for extent in result["extents"]:
        at, length, state = extent["offset"] / unit, extent["length"] / unit, extent["state"]
        if joined and joined[-1][2] == state:
            start, before, _ = joined.pop()
            joined.append((start, before + length, state))
        else:
            joined.append((at, length, state))
    return joined


def compared(status: Exit, files: Pair) -> list[tuple[float, float, str]]:
    result = found(status, files.source_name, files.destination_name)
    sums = dict.fromkeys(("shared", "not shared", "hole", "unprovable"), 0)
    for extent in result["extents"]:
        sums[extent["state"]] += extent["length"]
    assert [result[name] for name in ("shared", "not_shared", "holes", "unprovable")] == list(sums.values())
    assert sum(sums.values()) == os.fstat(files.destination).st_size
    return table(result)


def write_blocks(fd: int, blocks: Iterable[int]) -> None:
    for block in blocks:
        os.pwrite(fd, noise(BLOCK, 9 + block), block * BLOCK)
    os.fsync(fd)


def clone(files: Pair, blocks: int) -> None:
    calls.clone_range(files.source, 0, blocks * BLOCK, files.destination, 0)


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """Where another program's FUSE filesystem with files a and b is mounted."""
    point = tmp_path / "foreign"
    point.mkdir()
    script = Path(__file__).with_name("foreign_fuse.py")
    with subprocess.Popen([sys.executable, script, point], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline() == b"ready\n"
            yield point
        finally:
            subprocess.run(["fusermount3", "-u", point], check=True, timeout=30)
            assert server.wait(30) == 0


def test_hole_at_the_end(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(10 * BLOCK)) as files:
        os.truncate(files.source_name, 20 * BLOCK)
        clone(files, 20)
        assert compared(Exit.OK, files) == [(0, 10, "shared"), (10, 10, "hole")]


def test_every_second_extent_is_another(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(6 * BLOCK)) as files:
        clone(files, 6)
        write_blocks(files.destination, range(1, 6, 2))
        assert compared(Exit.NOT_SHARED, files) == [
            (block, 1, "not shared" if block % 2 else "shared") for block in range(6)
        ]


def test_the_last_extent_is_another(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(20 * BLOCK)) as files:
        clone(files, 20)
        write_blocks(files.destination, [19])
        assert compared(Exit.NOT_SHARED, files) == [(0, 19, "shared"), (19, 1, "not shared")]


def test_many_holes(sharing_backing: Path) -> None:
    with pair(sharing_backing, b"") as files:
        write_blocks(files.source, range(1, 600, 2))
        clone(files, 600)
        expected = [(block, 1, "shared" if block % 2 else "hole") for block in range(600)]
        assert compared(Exit.OK, files) == expected


def test_adjacent_blocks_in_another_order(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(4 * BLOCK)) as files:
        for source, destination in ((0, 0), (1, 2), (2, 1), (3, 3)):
            calls.clone_range(files.source, source * BLOCK, BLOCK, files.destination, destination * BLOCK)
        assert compared(Exit.NOT_SHARED, files) == [
            (0, 1, "shared"),
            (1, 2, "not shared"),
            (3, 1, "shared"),
        ]


def test_adjacent_extents_cloned_one_by_one(sharing_backing: Path) -> None:
    """The source has one extent; what was cloned of it in pieces may be several or one."""
    with pair(sharing_backing, noise(8 * BLOCK)) as files:
        for at in (0, 3, 5):
            length = {0: 3, 3: 2, 5: 3}[at] * BLOCK
            calls.clone_range(files.source, at * BLOCK, length, files.destination, at * BLOCK)
        assert compared(Exit.OK, files) == [(0, 8, "shared")]


def test_hole_before_the_extent(sharing_backing: Path) -> None:
    with pair(sharing_backing, b"") as files:
        write_blocks(files.source, [4, 5, 6, 7])
        clone(files, 8)
        assert compared(Exit.OK, files) == [(0, 4, "hole"), (4, 4, "shared")]


def test_data_over_a_hole_of_the_source(sharing_backing: Path) -> None:
    with pair(sharing_backing, b"", noise(4 * BLOCK)) as files:
        os.truncate(files.source_name, 4 * BLOCK)
        assert compared(Exit.NOT_SHARED, files) == [(0, 4, "not shared")]


def test_inline_is_unprovable(btrfs: Path) -> None:
    directory = btrfs / "inline-verify"
    directory.mkdir()
    with pair(directory, b"x" * 100) as files:
        calls.clone_range(files.source, 0, 100, files.destination, 0)
        code, out, err = verify(files.source_name, files.destination_name)
        assert code == Exit.NOT_SHARED
        assert out.splitlines() == [
            "        OFFSET         LENGTH STATE      FLAGS",
            "             0            100 unprovable inline",
            f"{files.destination_name}: 0 of 100 bytes shared (0%), 0 not shared, 100 unprovable, 0 in holes",
        ]
        assert "100 of 100 bytes are unprovable: inline in metadata" in err


def test_last_partial_block(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(70000)) as files:
        calls.clone_range(files.source, 0, 70000, files.destination, 0)
        code, out, err = verify(files.source_name, files.destination_name)
        assert (code, err) == (Exit.OK, "")
        assert out.endswith(": 70000 of 70000 bytes shared (100%), 0 not shared, 0 unprovable, 0 in holes\n")
        assert out.splitlines()[1:-1] == ["             0          70000 shared"]


def test_tail_that_was_copied(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(100000)) as files:
        calls.clone_range(files.source, 0, 69632, files.destination, 0)
        os.pwrite(files.destination, noise(100000)[69632:70000], 69632)
        code, _, err = verify(files.source_name, files.destination_name)
        assert code == Exit.NOT_SHARED
        names = f"{files.destination_name}: 368 of 70000 bytes are not shared with {files.source_name}"
        assert err.startswith(f"fusecopy: {names}")


def test_not_yet_written_out(sharing_backing: Path) -> None:
    """Both files are written out first, so what is found is where the bytes will stay."""
    (sharing_backing / "a").write_bytes(noise(4 * BLOCK))
    (sharing_backing / "b").write_bytes(noise(4 * BLOCK))
    result = found(Exit.NOT_SHARED, sharing_backing / "a", sharing_backing / "b")
    assert table(result) == [(0, 4, "not shared")]
    assert all("delalloc" not in extent["flags"] for extent in result["extents"])


def test_compressed(btrfs: Path) -> None:
    directory = btrfs / "compressed-verify"
    directory.mkdir()
    loopfs.run("chattr", "+c", directory)
    content = b"the same words again and again " * 40000
    with pair(directory, content) as files:
        calls.clone_range(files.source, 0, len(content), files.destination, 0)
        result = found(Exit.OK, files.source_name, files.destination_name)
        assert result["shared"] == len(content)
        assert {tuple(extent["flags"]) for extent in result["extents"]} == {("encoded",)}


def test_unwritten(btrfs: Path) -> None:
    """In files of their own: btrfs puts nothing inline into an inode that was ever preallocated."""
    directory = btrfs / "unwritten-verify"
    directory.mkdir()
    with pair(directory, b"") as files:
        os.posix_fallocate(files.source, 0, 16 * BLOCK)
        clone(files, 16)
        result = found(Exit.OK, files.source_name, files.destination_name)
        assert table(result) == [(0, 16, "shared")]
        assert result["extents"][0]["flags"] == ["unwritten"]


def test_range(sharing_backing: Path) -> None:
    with pair(sharing_backing, noise(8 * BLOCK), noise(8 * BLOCK, 2)) as files:
        calls.clone_range(files.source, BLOCK, 2 * BLOCK, files.destination, 5 * BLOCK)
        names = files.source_name, files.destination_name
        result = found(Exit.OK, *names, "--range", f"{BLOCK}:{5 * BLOCK}:{2 * BLOCK}")
        assert table(result) == [(5, 2, "shared")]
        assert found(Exit.NOT_SHARED, *names)["shared"] == 0
        result = found(Exit.NOT_SHARED, *names, "--range", f"{BLOCK}:{5 * BLOCK}:{3 * BLOCK}")
        assert table(result) == [(5, 2, "shared"), (7, 1, "not shared")]
        own = found(Exit.NOT_SHARED, names[1], names[1], "--range", f"0:{BLOCK}:{BLOCK}")
        assert table(own) == [(1, 1, "not shared")]


@pytest.mark.parametrize("text", ["1:2", "a:0:1", "0:0:0", "-1:0:4096", "0:0:99999999"])
def test_senseless_range(tmp_path: Path, text: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    code, _, err = verify(tmp_path / "a", tmp_path / "b", f"--range={text}")
    assert (code, "range" in err) == (Exit.USAGE, True)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.link(tmp_path / "a", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    assert verify(tmp_path / "a", tmp_path / "link")[0] == Exit.USAGE
    assert verify(tmp_path / "a", tmp_path / "pipe")[0] == Exit.USAGE
    assert verify(tmp_path / "a", tmp_path)[0] == Exit.USAGE
    code, _, err = verify(tmp_path / "a", tmp_path / "none")
    assert (code, "none cannot be opened: No such file or directory" in err) == (Exit.FAILURE, True)


def test_two_filesystems(btrfs: Path, xfs: Path) -> None:
    with pair(btrfs, noise(4 * BLOCK), noise(4 * BLOCK), other=xfs) as files:
        code, _, err = verify(files.source_name, files.destination_name)
        assert (code, "lie on two filesystems" in err) == (Exit.NOT_SHARED, True)


@pytest.mark.root
def test_no_fiemap(tmp_path: Path, btrfs: Path) -> None:
    with (
        loopfs.mount(tmp_path / "tmpfs", "-t", "tmpfs", "none") as tmpfs,
        pair(tmpfs, noise(BLOCK)) as files,
    ):
        (tmpfs / "destination").write_bytes(noise(BLOCK))
        result = found(Exit.NOT_SHARED, files.source_name, files.destination_name)
        assert (result["proof"], result["unprovable"]) == ("unprovable", BLOCK)
        assert result["reason"] == "no FIEMAP: Operation not supported"
        (btrfs / "elsewhere").write_bytes(noise(BLOCK))
        code, _, err = verify(btrfs / "elsewhere", files.destination_name)
        assert (code, "lie on two filesystems" in err) == (Exit.NOT_SHARED, True)


@pytest.mark.root
def test_a_stacked_filesystem_proves_nothing(tmp_path: Path, sharing_backing: Path) -> None:
    """It answers, with places on the device below."""
    with loopfs.stacked(tmp_path / "stacked", sharing_backing) as top:
        (top / "a").write_bytes(noise(4 * BLOCK))
        loopfs.run("cp", top / "a", top / "b")
        for other in (top / "b", sharing_backing / "upper" / "b"):
            result = found(Exit.NOT_SHARED, top / "a", other)
            assert (result["proof"], result["unprovable"]) == ("unprovable", 4 * BLOCK)
            assert result["reason"] == "the filesystem does not say where on its device files lie"


def test_another_piece_of_a_compressed_extent_is_not_shared(btrfs: Path) -> None:
    directory, half = btrfs / "pieces-verify", 16 * BLOCK
    directory.mkdir()
    loopfs.run("chattr", "+c", directory)
    words = b"".join(b"%07d and again " % number for number in range(20000))
    with pair(directory, words[: 2 * half]) as files:
        calls.clone_range(files.source, half, half, files.destination, 0)
        result = found(Exit.NOT_SHARED, files.source_name, files.destination_name)
        assert table(result) == [(0, 16, "not shared")]
        span = f"{half}:0:{half}"
        result = found(Exit.OK, "--range", span, files.source_name, files.destination_name)
        assert table(result) == [(0, 16, "shared")]


def test_empty_file(btrfs: Path) -> None:
    with pair(btrfs, noise(BLOCK)) as files:
        assert verify(files.source_name, files.destination_name)[0] == Exit.OK


@pytest.mark.fuse
def test_through_a_mount(sharing_backing: Path) -> None:
    (sharing_backing / "d").mkdir()
    (sharing_backing / "d" / "a").write_bytes(noise(20 * BLOCK))
    with mounted(sharing_backing) as mount:
        loopfs.run("cp", "--reflink=auto", mount.path / "d" / "a", mount.path / "b")
        assert table(found(Exit.OK, mount.path / "d" / "a", mount.path / "b")) == [(0, 20, "shared")]
        assert table(found(Exit.OK, sharing_backing / "d" / "a", mount.path / "b")) == [(0, 20, "shared")]
        (mount.path / "link").symlink_to("b")
        assert table(found(Exit.OK, sharing_backing / "b", mount.path / "d" / "a")) == [(0, 20, "shared")]
        assert table(found(Exit.OK, mount.path / "d" / "a", mount.path / "link")) == [(0, 20, "shared")]
        assert verify(sharing_backing / "b", mount.path / "b")[0] == Exit.USAGE
        with open(mount.path / "b", "r+b") as file:
            os.pwrite(file.fileno(), noise(BLOCK, 3), 0)
            result = found(Exit.NOT_SHARED, mount.path / "d" / "a", mount.path / "b")
            assert table(result) == [(0, 1, "not shared"), (1, 19, "shared")]


@pytest.mark.root
@pytest.mark.fuse
def test_part_of_a_mount_bound_elsewhere(btrfs: Path, tmp_path: Path) -> None:
    directory = btrfs / "bound"
    (directory / "d").mkdir(parents=True)
    for name in ("a", "b"):
        (directory / "d" / name).write_bytes(noise(BLOCK))
    with (
        mounted(directory) as mount,
        loopfs.mount(tmp_path / "bind", "--bind", str(mount.path / "d")) as bind,
    ):
        result = found(Exit.NOT_SHARED, bind / "a", bind / "b")
        assert result["proof"] == "fiemap"


@pytest.mark.fuse
def test_foreign_fuse_mount(foreign: Path) -> None:
    code, out, err = verify("--json", foreign / "a", foreign / "b")
    assert code == Exit.NOT_SHARED
    assert json.loads(out)["proof"] == "unprovable"
    assert "FUSE has no FIEMAP, so nothing can be known of its extents there: unprovable" in err
