"""Every byte of a copy is shared, rewritten, a hole or unprovable, on every filesystem, by every path."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.copying.records import CopyPath
from fusecopy.copying.sharing import parts, summed
from fusecopy.dispatch.records import Copy, Lost
from tests import loopfs
from tests.clone.running import served
from tests.loopfs import MIB
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.reflink.files import BLOCK, noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

WORDS = b"".join(b"%07d and again " % number for number in range(20000))
"""Compresses well and repeats nowhere."""

LADDERS = [carrier.value for carrier in CopyPath] + ["default", "reflink,readwrite", "dedupe,splice"]

SHAPES = ("inline", "block", "tail", "sparse", "allocated", "words", "dirty")


@pytest.fixture(params=["btrfs", "compressed", "xfs", "ext4", "stacked", "tmpfs"])
def backing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on filesystems that share, compress, do neither, or tell no places."""
    kind = request.param
    if kind == "tmpfs":
        with loopfs.mount(tmp_path / kind, "-t", "tmpfs", "none") as place:
            yield place
        return
    image = {"compressed": "btrfs", "stacked": "xfs"}.get(kind, kind)
    options = "compress-force=zstd:1" if kind == "compressed" else ""
    with loopfs.mounted(image, tmp_path, size=512 * MIB, options=options) as filesystem:
        if kind != "stacked":
            yield filesystem
            return
        with loopfs.stacked(tmp_path / kind, filesystem) as place:
            yield place


def fill(directory: Path) -> None:
    """A file of each shape, all but one written out."""
    (directory / "inline").write_bytes(b"x" * 100)
    (directory / "block").write_bytes(noise(2 * BLOCK))
    (directory / "tail").write_bytes(noise(70000))
    (directory / "words").write_bytes(WORDS)
    with (directory / "sparse").open("wb") as file:
        file.write(noise(BLOCK))
        os.pwrite(file.fileno(), noise(5000), 40 * BLOCK)
        file.truncate(50 * BLOCK + 7)
    with (directory / "allocated").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 16 * BLOCK)
        os.pwrite(file.fileno(), noise(BLOCK), 4 * BLOCK)
    os.sync()
    (directory / "dirty").write_bytes(noise(9 * BLOCK + 5))


RANGES = [(0, 0, 1 << 20), (0, 0, 5000), (BLOCK, 3 * BLOCK, 2 * BLOCK), (100, 100, 9000), (3, 8, 6000)]
"""Offsets in source and destination, and bytes."""


def copy_ranges(mount: Mounted, name: str) -> None:
    """Into an empty file, an equal one, one of other bytes, allocated space, and the file itself."""
    content = (mount.path / name).read_bytes()
    for number, (off_in, off_out, length) in enumerate(RANGES):
        for before in (b"", content, noise(20 * BLOCK, seed=5)):
            target = mount.path / f"{name}-{number}-{len(before)}"
            target.write_bytes(before)
            copy_range(mount.path / name, target, off_in, off_out, length)
    target = mount.path / f"{name}-allocated"
    with target.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 20 * BLOCK)
    copy_range(mount.path / name, target, 0, 0, 1 << 20)
    own = mount.path / f"{name}-itself"
    own.write_bytes(content)
    copy_range(own, own, 0, 32 * BLOCK, 4 * BLOCK)


def copy_range(source: Path, target: Path, off_in: int, off_out: int, length: int) -> None:
    with source.open("rb") as a, target.open("r+b") as b:
        try:
            while length > 0:
                count = os.copy_file_range(a.fileno(), b.fileno(), length, off_in, off_out)
                off_in, off_out, length = off_in + count, off_out + count, length - count
                if not count:
                    return
        except OSError:
            return  # a refusal is a record, too


def check(copy: Copy) -> None:
    """The four sorts add up, and where there is something unknown none is claimed."""
    assert None not in (copy.copied, copy.unprovable)
    assert copy.copied is not None
    assert copy.copied == sum(copy.paths.values()), copy
    if copy.unprovable:
        assert (copy.shared, copy.rewritten, copy.proof) == (None, None, "unprovable"), copy
        assert copy.unprovable + copy.holes <= copy.copied, copy
    else:
        assert copy.shared is not None
        assert copy.rewritten is not None
        assert copy.shared + copy.rewritten + copy.holes == copy.copied, copy
        assert min(copy.shared, copy.rewritten, copy.holes) >= 0, copy
    if copy.shared_before:
        assert copy.shared_before <= copy.length, copy


def told(mount: Mounted, last: str) -> list[Copy]:
    """All copies up to the one into `last`, of which none was lost."""
    records = mount.records_until(lambda found: any(isinstance(r, Copy) and r.dst == last for r in found))
    assert not [record for record in records if isinstance(record, Lost)]
    return [record for record in records if isinstance(record, Copy)]


def finish(mount: Mounted) -> list[Copy]:
    """One more copy, by whose record all others have theirs; then every record adds up."""
    subprocess.run(
        ["cp", "--reflink=never", mount.path / "tail", mount.path / "last"], check=True, timeout=60
    )
    copies = told(mount, "last")
    for copy in copies:
        check(copy)
    return copies


def test_copies_by_every_ladder(backing: Path) -> None:
    fill(backing)
    trusted = backing.name in ("btrfs", "xfs", "ext4")
    with mounted(backing) as mount:
        for ladder in LADDERS:
            mount.policy(f"paths={ladder}" if ladder != "default" else "default")
            for name in SHAPES:
                copy_ranges(mount, name)
        copies = finish(mount)
    assert len(copies) > len(LADDERS) * len(SHAPES)
    if not trusted:
        assert not [copy for copy in copies if copy.shared or copy.shared_before]
    assert {"dispatched", "fallback"} <= {copy.dispatch for copy in copies}


def test_programs_clones_and_trees(backing: Path) -> None:
    (backing / "tree").mkdir()
    fill(backing)
    fill(backing / "tree")
    with mounted(backing) as mount:
        served("sh", "-c", "\n".join(programs()), cwd=mount.path)
        for name in ("inline", "tail", "words"):
            for how, target in (("copy", "copied"), ("reflink", "cloned"), ("dedupe", f"{name}-never")):
                command = [FUSECOPY, "cp", "--how", how, name, target]
                subprocess.run(command, cwd=mount.path, capture_output=True, timeout=60)
        clone = [FUSECOPY, "clone", "-r", "tree", "made"]
        subprocess.run(clone, cwd=mount.path, capture_output=True, timeout=60)
        copies = finish(mount)
    assert len(copies) >= 5 * len(SHAPES)


def programs() -> Iterator[str]:
    """Commands that copy each shape in many ways; some are refused."""
    for name in SHAPES:
        for way in ("auto", "never", "always"):
            yield f"cp --reflink={way} {name} {name}-{way}"
        yield f"cp --sparse=always {name} {name}-sparse"
        yield f"cat {name} > {name}-cat"
    code = f"import shutil; [shutil.copyfile(name, name + '-sent') for name in {SHAPES}]"
    yield f'{sys.executable} -c "{code}"'


@pytest.mark.parametrize("way", ["FICLONE", "FIDEDUPERANGE"])
def test_inline_clones_and_unshared_tails(btrfs: Path, way: str) -> None:
    """Of an inline clone nothing is known; a dedupe's tail is not even compared."""
    directory = btrfs / f"told-{way}"
    directory.mkdir()
    (directory / "inline").write_bytes(b"x" * 100)
    (directory / "a").write_bytes(noise(20 * BLOCK))
    (directory / "b").write_bytes(noise(20 * BLOCK))
    os.sync()
    with mounted(directory) as mount:
        if way == "FICLONE":
            assert served("cp", "--reflink=always", "inline", "c", cwd=mount.path).returncode == 0
            [copy] = mount.copies(1)
            assert (copy.asked, copy.copied, copy.shared, copy.rewritten) == ("FICLONE", 100, None, None)
            assert copy.unprovable == 100
        else:
            code = (
                "import fcntl, struct; a, b = open('a', 'rb'), open('b', 'r+b');"
                "q = struct.pack('QQHHIqQQiI', 0, 70000, 1, 0, 0, b.fileno(), 0, 0, 0, 0);"
                "r = fcntl.ioctl(a, 0xC0189436, q);"
                "print(struct.unpack('QQHHIqQQiI', r)[7])"
            )
            done = served(sys.executable, "-c", code, cwd=mount.path)
            assert done.stdout == "70000\n", done.stderr
            [copy] = mount.copies(1)
            assert (copy.asked, copy.copied, copy.shared, copy.rewritten) == (
                "FIDEDUPERANGE",
                69632,
                69632,
                0,
            )
            assert (copy.length, copy.attempts[0].reason) == (70000, "the tail is not a whole block")
        check(copy)


def test_the_records_of_compressed_pieces_are_what_the_extents_are(tmp_path: Path) -> None:
    """Pieces of one compressed extent in each other's places: what is shared is, and what differs is not."""
    half = 16 * BLOCK
    with loopfs.mounted("btrfs", tmp_path, options="compress-force=zstd:1") as filesystem:
        (filesystem / "a").write_bytes(WORDS[: 2 * half])
        os.sync()
        with mounted(filesystem) as mount:
            (mount.path / "b").touch()
            copy_range(mount.path / "a", mount.path / "b", half, 0, half)
            copy_range(mount.path / "a", mount.path / "b", 0, 0, half)
            [moved, over] = mount.copies(2)
        assert (moved.shared, moved.shared_before, over.shared, over.shared_before) == (half, 0, half, None)
        with (filesystem / "a").open("rb") as a, (filesystem / "b").open("rb") as b:
            assert summed(parts(a.fileno(), 0, b.fileno(), 0, half)).shared == half
