"""fusecopy explain: the story of copies made for it in real mounts."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fusecopy.copying.sharing import shared_bytes
from fusecopy.dispatch.records import Attempt, Copy, Flow, Header, Requests
from fusecopy.dispatch.writer import Writer
from fusecopy.errors import Exit
from tests import loopfs
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.reflink.files import noise

pytestmark = pytest.mark.fuse

SIZE = 70000
"""Ends 368 bytes after a block."""


def explain(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command: status, output, errors."""
    done = subprocess.run(
        [FUSECOPY, "explain", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def story(*arguments: str | Path) -> dict[str, str]:
    """The story's lines by label, unwrapped."""
    code, out, err = explain(*arguments)
    assert (code, err) == (Exit.OK, "")
    assert all(len(line) < 80 or "/" in line for line in out.splitlines())
    told: dict[str, str] = {}
    label = ""
    for line in out.splitlines():
        label = line[:10].strip() or label
        told[label] = f"{told[label]} {line[11:]}" if label in told else line[11:]
    return told


def copy(mount: Mounted, source: str, destination: str, length: int, at: tuple[int, int] = (0, 0)) -> int:
    """One copy_file_range in the mount; the count."""
    with (
        (mount.path / source).open("rb") as one,
        os.fdopen(os.open(mount.path / destination, os.O_RDWR | os.O_CREAT), "r+b") as other,
    ):
        return os.copy_file_range(one.fileno(), other.fileno(), length, *at)


@contextmanager
def scene(backing: Path, *arguments: str) -> Iterator[Mounted]:
    """A mount of `backing` with a file `a`."""
    (backing / "a").write_bytes(noise(SIZE))
    with mounted(backing, *arguments) as mount:
        yield mount


def shared(backing: Path, destination: str) -> int:
    with (backing / "a").open("rb") as one, (backing / destination).open("rb") as other:
        return shared_bytes(one.fileno(), 0, other.fileno(), 0, SIZE).shared


def test_shared_whole(sharing_backing: Path) -> None:
    with scene(sharing_backing) as mount:
        assert copy(mount, "a", "b", SIZE) == SIZE
        told = story(mount.path / "b")
        assert told["asked"] == "copy_file_range of 70000 bytes from a at 0 to b at 0"
        assert told["dispatch"].startswith("dispatched: ")
        assert told["attempts"] == "1. reflink of 70000 bytes at 0: copied all"
        assert told["copied"] == "70000 of 70000 bytes: reflink 70000"
        assert told["shared"].startswith("70000 of 70000 bytes; proven after the copy")
        assert told["rewritten"] == "0 bytes"
        assert "cause" not in told
        assert f", pid {os.getpid()}, user {os.getuid()}" in told["by"]
        assert told["source"].startswith(f"{sharing_backing}/a: 70000 bytes on ")
        assert told["source"].endswith("offset 0 begins a block of 4096")
        number = told["copy"].split(",")[0]
        assert story(mount.path, number) == story("--log", mount.log, number) == told


def test_body_and_tail(sharing_backing: Path) -> None:
    with scene(sharing_backing) as mount:
        (mount.path / "old").write_bytes(noise(100000, 2))
        assert copy(mount, "a", "old", SIZE) == SIZE
        told = story(mount.path / "old")
        assert told["attempts"] == (
            "1. reflink of 69632 bytes at 0: copied all "
            "2. reflink of 368 bytes at 69632: copied nothing, EINVAL, the tail after the last whole block "
            "of 4096 "
            "3. copy_file_range of 368 bytes at 69632: copied all"
        )
        assert told["copied"] == "70000 of 70000 bytes: reflink 69632, copy_file_range 368"
        assert told["rewritten"] == "368 bytes"
        assert told["cause"] == (
            "The range ends at the source's end, inside a block of 4096, but the destination goes on from "
            "70000 to 100000."
        )
        assert told["remedy"].startswith("Truncate the destination to 70000 first")
        os.truncate(mount.path / "old", SIZE)
        assert copy(mount, "a", "old", SIZE) == SIZE
        assert shared(sharing_backing, "old") == SIZE


@pytest.mark.parametrize(("at", "side"), [((100, 0), "source"), ((0, 100), "destination")])
def test_copied_without_a_word(sharing_backing: Path, at: tuple[int, int], side: str) -> None:
    """No errno came from the backing's own copy, so the record has no cause; the files still tell."""
    with scene(sharing_backing, "-o", "paths=copy_file_range") as mount:
        assert copy(mount, "a", "b", 5000, at) == 5000
        told = story(mount.path / "b")
        assert told["shared"].startswith("0 of 5000 bytes; proven")
        assert told["cause"] == (
            f"by what the files are now: The {side} offset 100 is not a multiple of the block size 4096."
        )
        assert told["remedy"] == "Begin at a multiple of 4096 in both files."
        assert told["source" if side == "source" else "dest."].endswith(
            "offset 100 lies 100 bytes into a block of 4096"
        )
        assert copy(mount, "a", "c", 8192, (4096, 4096)) == 8192
        assert story(mount.path / "c")["shared"].startswith("8192 of 8192 bytes; proven")


def test_no_cow(btrfs: Path) -> None:
    directory = btrfs / "explained"
    directory.mkdir()
    (directory / "n").touch()
    loopfs.run("chattr", "+C", directory / "n")
    with scene(directory) as mount:
        assert copy(mount, "a", "n", SIZE) == SIZE
        told = story(mount.path / "n")
        assert told["attempts"] == (
            "1. reflink of 70000 bytes at 0: copied nothing, EINVAL, for the cause below "
            "2. copy_file_range of 70000 bytes at 0: copied all"
        )
        assert told["cause"].startswith("The destination is No_COW (chattr +C) and the source is not")
        assert told["dest."].endswith("; No_COW (+C)")
        mount.policy("strict")
        with pytest.raises(OSError, match="Input/output error"):
            copy(mount, "a", "n", SIZE)
        told = story(mount.path / "n")
        assert told["dispatch"] == "refused: no byte was copied, for EINVAL"
        assert told["cause"].startswith("EINVAL: The destination is No_COW")
        (mount.path / "n").write_bytes(b"")
        loopfs.run("chattr", "-C", directory / "n")
        assert copy(mount, "a", "n", SIZE) == SIZE
        assert shared(directory, "n") == SIZE


def test_ext4(ext4: Path) -> None:
    directory = ext4 / "explained"
    directory.mkdir()
    with scene(directory) as mount:
        assert copy(mount, "a", "b", SIZE) == SIZE
        told = story(mount.path / "b")
        assert told["attempts"].startswith("1. reflink of 70000 bytes at 0: copied nothing, EOPNOTSUPP, for")
        assert told["cause"].startswith("The filesystem ext4 (device ")
        assert told["remedy"] == "Keep both files on one btrfs, or on one XFS made with reflink=1."
        assert told["rewritten"] == "70000 bytes"


def test_fallback_and_bypass(sharing_backing: Path) -> None:
    with scene(sharing_backing, "-o", "decline=eopnotsupp") as mount:
        assert copy(mount, "a", "b", SIZE) == SIZE
        told = story(mount.path / "b")
        assert told["dispatch"].startswith(
            "fallback: the server declined, and the kernel moved the bytes by its own splice ("
        )
        assert told["attempts"] == "none by the server"
        assert told["cause"] == "The mount's policy declines every copy with EOPNOTSUPP."
        assert told["shared"] == "0 of 70000 bytes; every byte was moved by writes, which share nothing"
        loopfs.run("dd", f"if={mount.path}/a", f"of={mount.path}/z", "bs=1M", "status=none")
        told = story(mount.path / "z")
        assert told["asked"] == "for no copy; it moved 70000 bytes from a at 0 to z at 0"
        assert told["dispatch"].startswith("bypassed: the program moved the bytes itself by write, without")


def test_unprovable(btrfs: Path) -> None:
    directory = btrfs / "inline"
    directory.mkdir()
    (directory / "small").write_bytes(b"x" * 100)
    with mounted(directory) as mount:
        assert copy(mount, "small", "b", 100) == 100
        told = story(mount.path / "b")
        why = "the backing does not say where its files lie, or the data lies inline in metadata"
        assert told["shared"] == f"unprovable: {why}"
        assert told["source"].endswith("; inline in metadata")


def test_files_that_are_gone(sharing_backing: Path) -> None:
    with scene(sharing_backing) as mount:
        copy(mount, "a", "b", SIZE)
        (mount.path / "a").unlink()
        told = story(mount.path / "b")
        assert told["source"] == f"{sharing_backing}/a cannot be looked at: No such file or directory"
        assert told["dest."] == f"{sharing_backing}/b: 70000 bytes"


def test_name_that_is_not_utf8(sharing_backing: Path) -> None:
    with scene(sharing_backing) as mount:
        name = os.fsdecode(b"\xff")
        copy(mount, "a", name, SIZE)
        code, out, _ = explain(mount.path / name)
        assert code == Exit.OK
        # Long lines are folded, at spaces or within a long path.
        told = "".join(line[11:] for line in out.splitlines()).replace(" ", "")
        assert f"{sharing_backing}/\\udcff:70000bytes" in told


def test_what_has_no_story(sharing_backing: Path) -> None:
    with scene(sharing_backing) as mount:
        copy(mount, "a", "b", SIZE)
        for arguments, status, words in (
            ([mount.path / "a"], Exit.FAILURE, "no copy into it is remembered"),
            ([sharing_backing / "a"], Exit.FAILURE, "no copy into it is remembered"),
            ([mount.path / "none"], Exit.FAILURE, "No such file or directory"),
            ([mount.path], Exit.USAGE, "has many copies"),
            (["--log", mount.log], Exit.USAGE, "has many copies"),
            ([mount.path, "99"], Exit.LOG, "the newest mount has no copy 99"),
            ([sharing_backing, "1"], Exit.USAGE, "is not the root of a fusecopy mount"),
            ([mount.path, "0"], Exit.USAGE, "0 is not in the range"),
        ):
            code, out, err = explain(*arguments)
            assert (code, out) == (status, "")
            assert words in err


def test_flow_and_path_of_a_newer_fusecopy(tmp_path: Path) -> None:
    """A flow is no copy; a path that is not known here is told as it stands."""
    times: dict[str, Any] = {"time": "2026-03-01T06:45:00.000+01:00", "mono_ns": 1, "duration_us": 1}
    who: dict[str, Any] = {"pid": 1, "comm": "cp", "uid": 0, "requests": Requests()}
    attempt = Attempt("teleport", 0, 0, 9, 0, "EINVAL")
    copied = Copy(
        seq=2, asked="copy_file_range", src="a", dst="b", off_in=0, off_out=0, length=9, copied=0,
        dispatch="refused", path="-", attempts=[attempt], shared=0, proof="-", rewritten=0, errno="EINVAL",
        **times, **who,
    )  # fmt: skip
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"123456789")
    log = tmp_path / "log.jsonl"
    writer = Writer(log, header(tmp_path))
    writer.put(Flow(seq=1, dst="x", **times, **who))
    writer.put(copied)
    writer.close()
    code, _, err = explain("--log", log, "1")
    assert (code, "number 1 is a flow of writes into x" in err) == (Exit.LOG, True)
    assert story("--log", log, "2")["attempts"] == "1. teleport of 9 bytes at 0: copied nothing, EINVAL"


def header(backing: Path) -> Header:
    return Header(
        time="2026-03-01T06:45:00.000+01:00", schema=1, fusecopy="0.1.0", pyfuse3="3.5.0", libfuse="3.14.0",
        kernel="6.18.44", protocol="7.45", pid=4711, uid=0, backing=str(backing), filesystem="btrfs",
        mount="/mnt", connection=52, policy="reflink",
    )  # fmt: skip
