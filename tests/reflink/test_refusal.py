"""Every cause that lies in ranges, files and filesystems, on real ones; and that the remedy mends it."""

import errno
import os
from pathlib import Path

import pytest

from fusecopy.copying import calls
from fusecopy.copying.ladder import carry
from fusecopy.copying.records import CopyPath, Refusal, Request
from fusecopy.copying.refusal import explain
from fusecopy.copying.sharing import shared_bytes
from tests import loopfs
from tests.reflink.files import noise, opened, pair
from tests.reflink.refusing import CONTENT, refused, shares


@pytest.mark.parametrize(("side", "offsets"), [("source", (7, 0)), ("destination", (0, 7))])
def test_offset(sharing_backing: Path, side: str, offsets: tuple[int, int]) -> None:
    with pair(sharing_backing, CONTENT) as files:
        said = refused(files.request(8192, *offsets), errno.EINVAL)
        assert said.cause == f"The {side} offset 7 is not a multiple of the block size 4096."
        assert said.remedy == "Begin at a multiple of 4096 in both files."
        assert shares(files.request(8192, 4096, 4096))


def test_length_in_the_middle(sharing_backing: Path) -> None:
    with pair(sharing_backing, CONTENT) as files:
        said = refused(files.request(5000), errno.EINVAL)
        assert said.cause == (
            "The length 5000 is not a multiple of the block size 4096 and the range ends before the source "
            "does, at 5000 of 20000."
        )
        assert said.remedy == "Copy a multiple of 4096 bytes, or up to the source's end."
        assert shares(files.request(4096))
        assert shares(files.request(20000))


def test_smaller_than_a_block(sharing_backing: Path) -> None:
    with pair(sharing_backing, CONTENT) as files:
        said = refused(files.request(100), errno.EINVAL)
        assert (
            said.cause == "The range of 100 bytes is smaller than a block (4096) and does not end both files."
        )
        assert shares(files.request(4096))


def test_tail_into_a_longer_destination(sharing_backing: Path) -> None:
    with pair(sharing_backing, CONTENT, noise(30000, 2)) as files:
        said = refused(files.request(20000), errno.EINVAL)
        assert said.cause == (
            "The range ends at the source's end, inside a block of 4096, but the destination goes on from "
            "20000 to 30000."
        )
        os.truncate(files.destination_name, 20000)
        assert shares(files.request(20000))


def test_past_the_end(sharing_backing: Path) -> None:
    """The ladder cuts such a range, so the kernel's own answer to it is explained without a call."""
    with pair(sharing_backing, CONTENT) as files:
        said = explain(files.request(40960), CopyPath.REFLINK, errno.EINVAL)
        assert said.cause == "The range ends at 40960, past the source's end at 20000."
        assert shares(files.request(20000))


def test_overlap(sharing_backing: Path) -> None:
    (sharing_backing / "file").write_bytes(CONTENT)
    with opened(sharing_backing / "file", sharing_backing / "file") as files:
        said = refused(files.request(8192, 0, 4096), errno.EINVAL)
        assert said.cause == "Source and destination are one file and the ranges overlap."
        assert said.remedy == "Copy to a range that begins at least 8192 bytes away, or to another file."
        assert shares(files.request(8192, 0, 8192))


@pytest.mark.parametrize("nocow", ["source", "destination"])
def test_nocow(btrfs: Path, nocow: str) -> None:
    directory = btrfs / f"refusal-nocow-{nocow}"
    directory.mkdir()
    for name in ("source", "destination"):
        (directory / name).touch()
    loopfs.run("chattr", "+C", directory / nocow)
    with pair(directory, CONTENT) as files:
        said = refused(files.request(8192), errno.EINVAL)
        other = "destination" if nocow == "source" else "source"
        assert said.cause == (
            f"The {nocow} is No_COW (chattr +C) and the {other} is not; "
            "btrfs shares between alike files only."
        )
        sign = "+" if nocow == "source" else "-"
        assert said.remedy.endswith(f"while it is empty: chattr {sign}C FILE.")
        assert explain(files.request(8192), CopyPath.COPY_FILE_RANGE, 0).cause == said.cause
        loopfs.run("chattr", f"{sign}C", directory / "destination")
        assert shares(files.request(8192))


def test_directory(sharing_backing: Path) -> None:
    (sharing_backing / "file").touch()
    with opened(sharing_backing, sharing_backing / "file", os.O_RDONLY) as files:
        said = refused(files.request(8192), errno.EISDIR)
        assert said.cause == "One of the two is a directory; only regular files are copied."


def test_device(sharing_backing: Path) -> None:
    (sharing_backing / "file").touch()
    with opened(Path("/dev/zero"), sharing_backing / "file", os.O_RDONLY) as files:
        said = refused(files.request(8192), errno.EINVAL)
        assert said.cause == "One of the two is not a regular file (a device, pipe or socket)."


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/status"])
def test_clone_of_what_lies_elsewhere(btrfs: Path, name: str) -> None:
    """The ladder does not get as far as the kernel's own answer to these."""
    (btrfs / "file").write_bytes(b"")
    with opened(Path(name), btrfs / "file", os.O_RDONLY) as files:
        with pytest.raises(OSError, match="Invalid cross-device link"):
            calls.clone_range(files.source, 0, 4096, files.destination, 0)
        said = explain(files.request(4096), CopyPath.REFLINK, errno.EXDEV)
        regular = name.startswith("/proc")
        expected = "The source lies on proc (device 0:" if regular else "One of the two is not a regular file"
        assert said.cause.startswith(expected)


def test_copy_file_range_says_nothing(sharing_backing: Path) -> None:
    """What a clone refuses, copy_file_range copies: the full count, and nothing is shared."""
    with pair(sharing_backing, CONTENT) as files:
        for request, cause in (
            (files.request(8192, 1, 0), "The source offset 1 is not a multiple of the block size 4096."),
            (files.request(8192, 0, 1), "The destination offset 1 is not a multiple of the block size 4096."),
            (
                files.request(100),
                "The range of 100 bytes is smaller than a block (4096) and does not end both",
            ),
        ):
            assert carry(request, (CopyPath.COPY_FILE_RANGE,)).copied == request.length
            said = explain(request, CopyPath.COPY_FILE_RANGE, 0)
            assert said.cause.startswith(cause)
        assert carry(files.request(8192), (CopyPath.COPY_FILE_RANGE,)).copied == 8192
        assert shared_bytes(files.source, 0, files.destination, 0, 8192).shared == 8192


def test_tail_alone_into_a_longer_destination(sharing_backing: Path) -> None:
    with pair(sharing_backing, CONTENT, noise(30000, 2)) as files:
        tail = files.request(20000 - 16384, 16384, 16384)
        said = refused(tail, errno.EINVAL)
        assert said.cause == (
            "The range ends at the source's end, inside a block of 4096, but the destination goes on from "
            "20000 to 30000."
        )
        os.truncate(files.destination_name, 20000)
        assert shares(tail)


@pytest.mark.root
def test_two_mounts_of_one_filesystem(btrfs: Path, tmp_path: Path) -> None:
    """Refused before Linux 5.18; since then it shares, so there is nothing to explain."""
    (btrfs / "destination").write_bytes(b"")
    with (
        loopfs.mount(tmp_path / "bind", "--bind", str(btrfs)) as bind,
        pair(btrfs, CONTENT),
        opened(btrfs / "source", bind / "destination") as files,
    ):
        assert shares(files.request(8192))
        said = explain(files.request(8192), CopyPath.REFLINK, errno.EXDEV)
        assert said.cause.startswith("Both files lie on one filesystem but were opened through two mounts")


def test_other_filesystem(btrfs: Path, xfs: Path) -> None:
    with pair(btrfs, CONTENT, other=xfs) as files:
        devices = [os.fstat(fd).st_dev for fd in (files.source, files.destination)]
        one, two = (f"{os.major(device)}:{os.minor(device)}" for device in devices)
        assert refused(files.request(8192), errno.EXDEV) == Refusal(
            errno.EXDEV,
            f"The source lies on btrfs (device {one}), the destination on xfs (device {two}); "
            "extents are shared within one filesystem.",
            "Copy within one filesystem; the subvolumes of one btrfs count as one.",
        )
        with pair(btrfs, CONTENT) as within:
            assert shares(within.request(8192))


def test_ext4_has_no_reflink(ext4: Path, btrfs: Path, xfs: Path) -> None:
    with pair(ext4, CONTENT) as files:
        said = refused(files.request(8192), errno.EOPNOTSUPP)
        assert said.cause.startswith("The filesystem ext4 (device 7:")
        assert said.cause.endswith("has no such operation: it answered EOPNOTSUPP to reflink.")
        assert said.remedy == "Keep both files on one btrfs, or on one XFS made with reflink=1."
    for filesystem in (btrfs, xfs):
        with pair(filesystem, CONTENT) as files:
            assert shares(files.request(8192))


@pytest.mark.root
def test_an_overlay_over_ext4_has_none_either(ext4: Path, tmp_path: Path) -> None:
    below = ext4 / "below"
    below.mkdir()
    with loopfs.stacked(tmp_path / "stacked", below) as stacked, pair(stacked, CONTENT) as files:
        said = refused(files.request(8192), errno.EOPNOTSUPP)
    assert said.cause.startswith("The filesystem overlay (device ")
    assert said.cause.endswith("It hands clones on to the filesystem below.")
    assert said.remedy.startswith("Put what lies below (of an overlay, its upper layer) on btrfs")


@pytest.mark.root
def test_tmpfs_has_no_reflink(tmp_path: Path) -> None:
    with (
        loopfs.mount(tmp_path / "tmpfs", "-t", "tmpfs", "none") as tmpfs,
        pair(tmpfs, CONTENT) as files,
    ):
        said = refused(files.request(8192), errno.EOPNOTSUPP)
        assert said.cause.startswith("The filesystem tmpfs (device ")


@pytest.mark.loop
def test_xfs_without_reflink(tmp_path: Path) -> None:
    with (
        loopfs.mounted("xfs", tmp_path, mkfs=("-m", "reflink=0")) as point,
        pair(point, CONTENT) as files,
    ):
        said = refused(files.request(8192), errno.EOPNOTSUPP)
        assert said.cause.startswith("This XFS was made without reflink (device 7:")
        assert said.remedy == "It cannot be added later: make a new one with mkfs.xfs -m reflink=1."
    with loopfs.mounted("xfs", tmp_path, mkfs=("-m", "reflink=1")) as point, pair(point, CONTENT) as files:
        assert shares(files.request(8192))


@pytest.mark.loop
def test_inline(tmp_path: Path) -> None:
    with loopfs.mounted("btrfs", tmp_path) as point:
        with pair(point, b"x" * 100) as files:
            assert carry(files.request(100), (CopyPath.REFLINK,)).copied == 100
            assert not shares(files.request(100))
            said = explain(files.request(100), CopyPath.REFLINK, 0)
            assert said.cause == (
                "The source's data lies inline in the metadata of btrfs, so no extent can be shared."
            )
        loopfs.run("mount", "-o", "remount,max_inline=0", point)
        with pair(point, b"x" * 100) as files:
            assert shares(files.request(100))


def test_differs(sharing_backing: Path) -> None:
    before = CONTENT[:9000] + b"?" + CONTENT[9001:]
    with pair(sharing_backing, CONTENT, before) as files:
        said = refused(files.request(20000), errno.EINVAL, CopyPath.DEDUPE)
        assert said.cause == "The two ranges differ, first at byte 9000 of the range."
        assert explain(files.request(20000), CopyPath.DEDUPE, 0) == Refusal(0, said.cause, said.remedy)
        assert shares(files.request(20000))


def test_dedupe_beyond_the_destination(sharing_backing: Path) -> None:
    with pair(sharing_backing, CONTENT, CONTENT[:4096]) as files:
        said = refused(files.request(8192), errno.EINVAL, CopyPath.DEDUPE)
        assert said.cause == (
            "The range ends at 8192, past the destination's end at 4096; "
            "dedupe shares only bytes that are there already."
        )
        assert shares(files.request(8192))


def test_no_rule_fits(sharing_backing: Path) -> None:
    with pair(sharing_backing, CONTENT) as files:
        assert explain(files.request(8192), CopyPath.REFLINK, errno.EIO) == Refusal(
            errno.EIO, "reflink gave EIO; no cause known here fits the two files.", ""
        )
        assert explain(files.request(8192), CopyPath.REFLINK, errno.EINVAL).cause == (
            "reflink gave EINVAL; no cause known here fits the two files."
        )


def test_closed_descriptors() -> None:
    said = explain(Request(1 << 20, 1 << 20, 0, 0, 1), CopyPath.REFLINK, errno.EBADF)
    assert said.cause == "reflink gave EBADF, and looking for the cause failed: Bad file descriptor."
