"""fusecopy cp: on every backing, inside a mount and outside."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusecopy.copying.ladder import HOWS
from fusecopy.copying.sharing import shared_bytes
from fusecopy.errors import Exit
from tests import loopfs
from tests.conftest import require
from tests.mounted import FUSECOPY, Mounted, mounted

SIZE = (1 << 20) + 70000
"""Ends inside a block."""

MIB = 1 << 20


@dataclass
class Scene:
    """A directory to copy in, and the backing directory in which its files lie."""

    path: Path
    backing: Path
    mount: Mounted | None = None

    def make(self, name: str, data: bytes) -> Path:
        """A file that is on disk, so that its extents can be compared."""
        with (self.backing / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return self.path / name

    def shared(self, one: str, other: str) -> int:
        """Bytes that two files share."""
        with (self.backing / one).open("rb") as a, (self.backing / other).open("rb") as b:
            return shared_bytes(a.fileno(), 0, b.fileno(), 0, os.fstat(a.fileno()).st_size).shared


def cp(how: str, source: Path, destination: Path, *options: str, umask: int = 0o022) -> tuple[int, str, str]:
    """Run the command: status, output, errors."""
    done = subprocess.run(
        [FUSECOPY, "cp", "--how", how, *options, str(source), str(destination)],
        capture_output=True,
        text=True,
        timeout=60,
        umask=umask,
    )
    return done.returncode, done.stdout, done.stderr


def random(size: int = SIZE) -> bytes:
    return os.urandom(size)


@pytest.fixture(params=["inside", "outside"])
def where(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def scene(where: str, backing: Path) -> Iterator[Scene]:
    """On each of the three filesystems, inside a mount and outside."""
    yield from _scene(where, backing)


@pytest.fixture
def sharing_scene(where: str, sharing_backing: Path) -> Iterator[Scene]:
    """The same where reflinks work."""
    yield from _scene(where, sharing_backing)


@pytest.fixture
def plain_scene(where: str, ext4: Path) -> Iterator[Scene]:
    """The same where they do not."""
    with tempfile.TemporaryDirectory(dir=ext4) as directory:
        yield from _scene(where, Path(directory))


@pytest.fixture
def on_btrfs(btrfs: Path) -> Iterator[Path]:
    """A fresh directory on btrfs."""
    with tempfile.TemporaryDirectory(dir=btrfs) as directory:
        yield Path(directory)


def _scene(where: str, backing: Path) -> Iterator[Scene]:
    if where == "outside":
        yield Scene(backing, backing)
        return
    require("fuse")
    with mounted(backing) as mount:
        yield Scene(mount.path, backing, mount)


def test_copy_writes_every_byte_again(scene: Scene) -> None:
    data = random()
    source = scene.make("a", data)
    status, out, err = cp("copy", source, scene.path / "b")
    assert (status, err) == (0, "")
    assert out == f"{scene.path}/b: {SIZE} bytes by splice: 0 shared, {SIZE} rewritten\n"
    assert (scene.path / "b").read_bytes() == data
    assert scene.shared("a", "b") == 0
    if scene.mount:
        (record,) = scene.mount.copies(1)
        assert (record.asked, record.dispatch, record.path) == ("how=copy", "dispatched", "splice")
        assert record.requests.copies == 1


def test_reflink_shares_every_byte(sharing_scene: Scene) -> None:
    data = random()
    source = sharing_scene.make("a", data)
    status, out, err = cp("reflink", source, sharing_scene.path / "b")
    assert (status, err) == (0, "")
    assert out == f"{sharing_scene.path}/b: {SIZE} bytes by reflink: {SIZE} shared, 0 rewritten\n"
    assert (sharing_scene.path / "b").read_bytes() == data
    assert sharing_scene.shared("a", "b") == SIZE
    if sharing_scene.mount:
        (record,) = sharing_scene.mount.copies(1)
        assert (record.asked, record.path, record.shared) == ("how=reflink", "reflink", SIZE)


def test_dedupe_shares_what_is_there(sharing_scene: Scene) -> None:
    data = random()
    one, other = sharing_scene.make("a", data), sharing_scene.make("b", data)
    before = other.stat()
    assert sharing_scene.shared("a", "b") == 0
    status, out, err = cp("dedupe", one, other)
    assert (status, err) == (0, "")
    assert out == f"{other}: {SIZE} bytes by dedupe: {SIZE} shared, 0 rewritten\n"
    assert other.read_bytes() == data
    assert other.stat().st_mtime_ns == before.st_mtime_ns
    assert sharing_scene.shared("a", "b") == SIZE


@pytest.mark.parametrize("how", ["reflink", "dedupe"])
def test_what_is_not_to_be_had_is_refused_with_its_cause(plain_scene: Scene, how: str) -> None:
    data = random()
    source, there = plain_scene.make("a", data), plain_scene.make(f"b-{how}", data)
    target = there if how == "dedupe" else plain_scene.path / "new"
    status, out, err = cp(how, source, target)
    assert (status, out) == (Exit.STRICT, "")
    assert "EOPNOTSUPP: The filesystem ext4" in err
    assert "btrfs, or on one XFS made with reflink=1" in err
    assert not (plain_scene.path / "new").exists()
    assert there.read_bytes() == data


def test_dedupe_of_what_differs_changes_nothing(scene: Scene) -> None:
    data = random()
    changed = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
    one, other = scene.make("a", data), scene.make("b", changed)
    before = other.stat().st_mtime_ns
    status, out, err = cp("dedupe", one, other)
    assert (status, out) == (Exit.STRICT, "")
    assert f"they differ at byte {SIZE - 5}; nothing was changed" in err
    assert (other.read_bytes(), other.stat().st_mtime_ns) == (changed, before)


def test_dedupe_makes_no_file(sharing_scene: Scene) -> None:
    status, _, err = cp("dedupe", sharing_scene.make("a", b"x"), sharing_scene.path / "b")
    assert status == Exit.FAILURE
    assert f"{sharing_scene.path}/b: No such file or directory" in err
    assert not (sharing_scene.path / "b").exists()


def test_dedupe_wants_equal_sizes(sharing_scene: Scene) -> None:
    one, other = sharing_scene.make("a", b"xx"), sharing_scene.make("b", b"x")
    status, _, err = cp("dedupe", one, other)
    assert status == Exit.USAGE
    assert "2 and 1 bytes" in err
    assert other.read_bytes() == b"x"


@pytest.mark.parametrize("how", list(HOWS))
def test_one_file_is_not_copied_to_itself(sharing_scene: Scene, how: str) -> None:
    data = random()
    source = sharing_scene.make("a", data)
    os.link(source, sharing_scene.path / "link")
    for target in (source, sharing_scene.path / "link", sharing_scene.path):
        status, _, err = cp(how, source, target)
        assert status == Exit.USAGE
        assert "both are one file" in err
    assert source.read_bytes() == data


def test_destination_takes_name_and_mode_of_the_source(sharing_scene: Scene) -> None:
    source = sharing_scene.make("a", b"")
    source.chmod(0o764)
    (sharing_scene.path / "d").mkdir()
    status, out, _ = cp("reflink", source, sharing_scene.path / "d", umask=0o027)
    target = sharing_scene.path / "d" / "a"
    assert (status, out) == (0, f"{target}: 0 bytes, nothing to copy\n")
    assert target.stat().st_mode & 0o7777 == 0o740


def test_a_longer_destination_is_cut(sharing_scene: Scene) -> None:
    data = random(5000)
    source, target = sharing_scene.make("a", data), sharing_scene.make("b", random())
    assert cp("reflink", source, target, "-q") == (0, "", "")
    assert target.read_bytes() == data


def test_a_destination_that_was_there_stays(plain_scene: Scene) -> None:
    source, target = plain_scene.make("a", random()), plain_scene.make("b", b"old")
    assert cp("reflink", source, target)[0] == Exit.STRICT
    assert target.exists()


def test_a_missing_source_makes_no_destination(sharing_scene: Scene) -> None:
    status, _, err = cp("copy", sharing_scene.path / "none", sharing_scene.path / "b")
    assert status == Exit.FAILURE
    assert f"{sharing_scene.path}/none: No such file or directory" in err
    assert not (sharing_scene.path / "b").exists()


def test_a_pipe_is_refused_and_not_waited_for(sharing_scene: Scene) -> None:
    os.mkfifo(sharing_scene.path / "fifo")
    source = sharing_scene.make("a", b"x")
    for one, other in (("fifo", "b"), ("a", "fifo")):
        status, _, err = cp("copy", source.with_name(one), source.with_name(other))
        assert status == Exit.USAGE
        assert "fifo is not a regular file" in err


def test_reflink_across_filesystems_is_refused(on_btrfs: Path, tmp_path: Path) -> None:
    source = Scene(tmp_path, tmp_path).make("a", b"x" * 8192)
    status, _, err = cp("reflink", source, on_btrfs / "b")
    assert status == Exit.STRICT
    assert "EXDEV: The source lies on" in err
    assert not (on_btrfs / "b").exists()


@pytest.mark.fuse
def test_after_enosys_only_a_copy_is_had(on_btrfs: Path) -> None:
    """The kernel then copies by itself, whatever is announced: that is no reflink, and changes nothing."""
    with mounted(on_btrfs, "--decline", "enosys") as mount:
        scene = Scene(mount.path, on_btrfs, mount)
        data = random()
        source, same = scene.make("a", data), scene.make("same", data)
        with source.open("rb") as a, (scene.path / "first").open("wb") as b:
            assert os.copy_file_range(a.fileno(), b.fileno(), SIZE) == SIZE
        mount.policy("decline=")

        status, _, err = cp("reflink", source, scene.path / "b")
        assert (status, "the kernel did not ask the mount's server" in err) == (Exit.STRICT, True)
        assert not (scene.path / "b").exists()
        status, _, err = cp("dedupe", source, same)
        assert (status, "the kernel did not ask the mount's server" in err) == (Exit.STRICT, True)
        assert same.read_bytes() == data
        status, out, _ = cp("copy", source, scene.path / "b")
        assert (status, out) == (
            0,
            f"{scene.path}/b: {SIZE} bytes by kernel-splice: 0 shared, {SIZE} rewritten\n",
        )
        assert (scene.path / "b").read_bytes() == data


@pytest.mark.fuse
@pytest.mark.parametrize("policy", ["strict", "refuse=EIO", "decline=eopnotsupp", "paths=readwrite"])
def test_what_is_announced_goes_before_the_policy(on_btrfs: Path, policy: str) -> None:
    with mounted(on_btrfs) as mount:
        mount.policy(policy)
        scene = Scene(mount.path, on_btrfs, mount)
        source = scene.make("a", random())
        status, out, _ = cp("reflink", source, scene.path / "b")
        assert (status, f"{SIZE} shared" in out) == (0, True)
        status, out, _ = cp("copy", source, scene.path / "c")
        assert (status, "0 shared" in out) == (0, True)


@pytest.mark.fuse
@pytest.mark.loop
@pytest.mark.parametrize("inside", [True, False])
def test_a_copy_of_several_requests_is_one(tmp_path: Path, inside: bool) -> None:
    """One request carries 256 MiB at most. Compression keeps the image small."""
    size = 258 * MIB + 5

    def copied(path: Path) -> str:
        status, out, err = cp("copy", path / "a", path / "b")
        assert (status, err) == (0, "")
        assert subprocess.run(["cmp", path / "a", path / "b"], timeout=60).returncode == 0
        return out

    with loopfs.mounted("btrfs", tmp_path, options="compress-force=zstd:1") as backing:
        _write(backing / "a", b"fusecopy" * (MIB // 8), size)
        if not inside:
            assert f"{size} bytes by splice: 0 shared, {size} rewritten" in copied(backing)
            return
        with mounted(backing) as mount:
            assert f"{size} bytes by splice: 0 shared, {size} rewritten" in copied(mount.path)
            (record,) = mount.copies(1)
            assert (record.copied, record.length) == (size, size)
            assert record.requests.copies > 1


def _write(path: Path, block: bytes, size: int) -> None:
    with path.open("wb") as file:
        for offset in range(0, size, len(block)):
            file.write(block[: size - offset])
