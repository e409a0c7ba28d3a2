"""Every cause that lies in rights, limits and space, on real filesystems; and that the remedy mends it."""

import errno
import os
import resource
from pathlib import Path

import pytest

from fusecopy.copying.ladder import carry
from fusecopy.copying.records import CopyPath, Refusal
from fusecopy.copying.refusal import explain
from fusecopy.copying.sharing import shared_bytes
from tests import loopfs
from tests.reflink.files import noise, opened, pair
from tests.reflink.refusing import CONTENT, attribute, refused, shares


def test_immutable(sharing_backing: Path) -> None:
    with pair(sharing_backing, CONTENT) as files:
        with attribute(files.destination_name, "i"):
            said = refused(files.request(8192), errno.EPERM)
            assert said == Refusal(
                errno.EPERM,
                "The destination is immutable (chattr +i).",
                "Take the attribute off (chattr -i).",
            )
        assert shares(files.request(8192))


@pytest.mark.parametrize("attributed", [False, True])
def test_append(sharing_backing: Path, attributed: bool) -> None:
    with pair(sharing_backing, CONTENT) as files:
        names = files.source_name, files.destination_name
        if attributed:
            with attribute(names[1], "a"), opened(*names, flags_out=os.O_WRONLY | os.O_APPEND) as appending:
                said = refused(appending.request(8192), errno.EBADF)
            assert said.cause.startswith("The destination is append-only (chattr +a)")
        else:
            with opened(*names, flags_out=os.O_WRONLY | os.O_APPEND) as appending:
                said = refused(appending.request(8192), errno.EBADF)
            assert said.cause == "The destination is open with O_APPEND; a copy goes to an offset."
        assert shares(files.request(8192))


def test_append_only_after_it_was_opened(ext4: Path) -> None:
    with pair(ext4, CONTENT) as files, attribute(files.destination_name, "a"):
        said = explain(files.request(8192), CopyPath.READWRITE, errno.EPERM)
        assert said.cause == "The destination is append-only (chattr +a)."


@pytest.mark.parametrize(
    ("flags_in", "flags_out", "cause"),
    [
        (os.O_WRONLY, os.O_WRONLY, "The source is not open for reading."),
        (os.O_RDONLY, os.O_RDONLY, "The destination is not open for writing."),
    ],
)
def test_access(sharing_backing: Path, flags_in: int, flags_out: int, cause: str) -> None:
    with pair(sharing_backing, CONTENT) as files:
        with opened(files.source_name, files.destination_name, flags_in, flags_out) as wrong:
            assert refused(wrong.request(8192), errno.EBADF).cause == cause
        assert shares(files.request(8192))


@pytest.mark.root
def test_dedupe_of_a_file_of_another_user(sharing_backing: Path) -> None:
    """With the rights of an ordinary user, for the time of the calls."""
    with pair(sharing_backing, CONTENT, CONTENT) as files:
        files.destination_name.chmod(0o644)
        with opened(files.source_name, files.destination_name, os.O_RDONLY, os.O_RDONLY) as reading:
            os.seteuid(65534)
            try:
                said = refused(reading.request(8192), errno.EPERM, CopyPath.DEDUPE)
            finally:
                os.seteuid(0)
            assert said == Refusal(
                errno.EPERM,
                "The destination is open for reading only and user 0 owns it.",
                "Open it for writing, or run as its owner.",
            )
            assert carry(reading.request(8192), (CopyPath.DEDUPE,)).copied == 8192
        assert shared_bytes(files.source, 0, files.destination, 0, 8192).shared == 8192


@pytest.mark.parametrize("which", ["source", "destination"])
def test_swap_file(xfs: Path, which: str) -> None:
    directory = xfs / f"swap {which}"
    directory.mkdir()
    with pair(directory, noise(1 << 20), noise(1 << 20)) as files:
        swap = directory / which
        swap.chmod(0o600)
        loopfs.run("mkswap", swap)
        loopfs.run("swapon", swap)
        try:
            said = refused(files.request(8192), errno.ETXTBSY)
        finally:
            loopfs.run("swapoff", swap)
        assert said.cause == f"The {which} is in use as swap: {swap}."
        assert said.remedy == f"Turn that off first: swapoff {swap}"
        assert shares(files.request(8192))


def test_file_size_limit(sharing_backing: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pair(sharing_backing, CONTENT) as files:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            said = refused(files.request(8192, 0, 4096), errno.EFBIG, CopyPath.COPY_FILE_RANGE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert said.cause == ("The range ends at 12288 and this process may write up to 4096 (RLIMIT_FSIZE).")
        assert shares(files.request(8192, 0, 4096))


def test_larger_than_files_can_be(ext4: Path) -> None:
    with pair(ext4, CONTENT) as files:
        said = refused(files.request(4096, 0, 1 << 50), errno.EFBIG, CopyPath.READWRITE)
        assert said.cause == (
            f"The range ends at {(1 << 50) + 4096}, beyond the largest file that ext4 holds."
        )


@pytest.mark.root
def test_no_space(tmp_path: Path) -> None:
    with (
        loopfs.mount(tmp_path / "tmpfs", "-t", "tmpfs", "-o", "size=16k", "none") as tmpfs,
        pair(tmpfs, noise(8192), noise(8192)) as files,
    ):
        said = refused(files.request(4096, 0, 8192), errno.ENOSPC, CopyPath.READWRITE)
        assert said == Refusal(
            errno.ENOSPC, "The filesystem tmpfs is full: 0 bytes are free.", "Free some space on it."
        )


def test_quota(ext4: Path) -> None:
    with pair(ext4, CONTENT) as files:
        said = explain(files.request(4096), CopyPath.READWRITE, errno.EDQUOT)
        assert said.cause.startswith("A quota on ext4 is used up (user 0, group 0); ")


@pytest.mark.loop
def test_read_only(tmp_path: Path) -> None:
    with loopfs.mounted("btrfs", tmp_path) as point:
        with pair(point, CONTENT):
            pass
        loopfs.run("mount", "-o", "remount,ro", point)
        with opened(point / "source", point / "destination", os.O_RDONLY, os.O_RDONLY) as files:
            said = explain(files.request(8192), CopyPath.REFLINK, errno.EROFS)
        assert said.cause == "The destination's filesystem (btrfs) is mounted read-only."
        loopfs.run("mount", "-o", "remount,rw", point)
        with opened(point / "source", point / "destination") as files:
            assert shares(files.request(8192))


@pytest.mark.loop
def test_subvolume_made_read_only_while_a_file_was_open(btrfs: Path) -> None:
    subvolume = btrfs / "frozen"
    loopfs.run("btrfs", "subvolume", "create", subvolume)
    with pair(btrfs, CONTENT, other=subvolume) as files:
        loopfs.run("btrfs", "property", "set", "-ts", subvolume, "ro", "true")
        said = refused(files.request(8192), errno.EROFS)
        assert said.cause.endswith("as it does for a file in a read-only subvolume.")
        loopfs.run("btrfs", "property", "set", "-ts", subvolume, "ro", "false")
        assert shares(files.request(8192))
