"""fusecopy doctor: what it measures on filesystems that differ, and what it says of this machine."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fusecopy.copying.backing import unnamed
from fusecopy.doctor import serving, watching
from fusecopy.doctor.findings import State, output, version
from fusecopy.errors import Exit
from tests import loopfs
from tests.mounted import FUSECOPY, mounted

PLACE = ["filesystem", "reflink", "alignment", "copy_file_range", "dedupe", "FIEMAP", "holes"]
MACHINE = [
    "kernel",
    "FUSE protocol",
    "libfuse",
    "pyfuse3",
    "opcode 53",
    "/dev/fuse",
    "fusermount3",
    "user_allow_other",
    "open files",
    "requests",
    "tracefs",
    "fuse tracepoints",
    "call tracepoints",
    "drivers",
    "seccomp notify",
    "cp",
]


def doctor(*arguments: str | Path, prefix: Sequence[str] = ()) -> tuple[int, str, str]:
    """Run the command: status, output, errors."""
    done = subprocess.run(
        [*prefix, FUSECOPY, "doctor", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


def findings(*arguments: str | Path, prefix: Sequence[str] = ()) -> dict[str, tuple[str, str]]:
    """State and measurement by name, as --json has them."""
    code, out, err = doctor("--json", *arguments, prefix=prefix)
    assert (code, err) == (Exit.OK, "")
    return {each["name"]: (each["state"], each["found"]) for each in json.loads(out)}


def test_filesystems_that_share(sharing_backing: Path) -> None:
    found = findings(sharing_backing)
    assert list(found) == [*PLACE, *MACHINE]
    assert [found[name] for name in PLACE[1:]] == [
        ("ok", "FICLONERANGE works"),
        ("ok", "offsets in multiples of 4096"),
        ("ok", "shares"),
        ("ok", "FIDEDUPERANGE shares"),
        ("ok", "works"),
        ("ok", "SEEK_HOLE finds them"),
    ]
    assert found["filesystem"][1] in ("btrfs, blocks of 4096", "xfs, blocks of 4096")
    assert os.listdir(sharing_backing) == []


def test_requirements_that_hold(sharing_backing: Path) -> None:
    code, out, err = doctor("--require", "reflink,Dedupe,fiemap,open-files", sharing_backing)
    assert (code, err) == (Exit.OK, "")
    assert out.startswith("filesystem ")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_requirements_that_do_not_hold(ext4: Path, form: list[str]) -> None:
    code, out, err = doctor("--require", "fiemap,reflink,copy_file_range", *form, ext4)
    assert code == Exit.REQUIREMENT
    assert "reflink (missing), copy_file_range (limited)" in err
    assert "FIEMAP" not in err
    assert "FICLONERANGE is refused" in out


@pytest.mark.parametrize("required", ["reflinks", "", "kernel,,cp", "dedupe"])
def test_requirements_that_are_not_known(required: str) -> None:
    """What a directory can do is not known without one."""
    code, _, err = doctor("--require", required)
    assert code == Exit.USAGE
    assert "nothing here is called" in err


@pytest.mark.loop
def test_another_block_size(tmp_path: Path) -> None:
    with loopfs.mounted("xfs", tmp_path, mkfs=("-b", "size=1024")) as point:
        found = findings(point)
        assert found["filesystem"] == ("ok", "xfs, blocks of 1024")
        assert found["alignment"] == ("ok", "offsets in multiples of 1024")


def test_ext4_copies(ext4: Path) -> None:
    found = findings(ext4)
    assert "alignment" not in found
    assert found["reflink"] == ("missing", "FICLONERANGE is refused")
    assert found["copy_file_range"] == ("limited", "copies")
    assert found["dedupe"] == ("missing", "Operation not supported")
    assert found["FIEMAP"] == ("ok", "works")


@pytest.mark.root
def test_a_stacked_filesystem_proves_nothing(tmp_path: Path, sharing_backing: Path) -> None:
    with loopfs.stacked(tmp_path / "stacked", sharing_backing) as top:
        found = findings(top)
        assert found["FIEMAP"] == ("limited", "does not say where files lie")
        assert found["copy_file_range"] == ("limited", "works")
        assert found["dedupe"] == ("limited", "FIDEDUPERANGE works")


@pytest.mark.root
def test_ramfs_proves_nothing(tmp_path: Path) -> None:
    with loopfs.mount(tmp_path / "ramfs", "-t", "ramfs", "none") as point:
        found = findings(point)
        assert found["FIEMAP"] == ("missing", "is refused")
        assert found["holes"] == ("missing", "SEEK_HOLE finds none")
        assert found["copy_file_range"] == ("limited", "works")


def test_no_cow_directory(btrfs: Path) -> None:
    directory = btrfs / "nocow-doctor"
    directory.mkdir()
    loopfs.run("chattr", "+C", directory)
    found = findings(directory)
    assert found["filesystem"] == ("limited", "btrfs, blocks of 4096")
    assert found["copy_file_range"] == ("ok", "shares")


@pytest.mark.fuse
def test_inside_a_mount(btrfs: Path) -> None:
    """Without O_TMPFILE the files have names for a moment, and none while they are used."""
    directory = btrfs / "doctored"
    directory.mkdir()
    with mounted(directory) as mount:
        found = findings(mount.path)
        assert found["filesystem"][1] == "fuse.fusecopy"
        assert found["reflink"] == ("missing", "FICLONERANGE is refused")
        assert found["copy_file_range"] == ("limited", "works")
        assert found["FIEMAP"] == ("missing", "is refused")
        protocol, agreed = found["FUSE protocol"]
        assert (protocol, agreed.split(".")[0]) == ("ok", "7")
        top = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with unnamed(top) as fd:
                os.pwrite(fd, b"x", 0)
                assert os.listdir(directory) == []
        finally:
            os.close(top)
        assert os.listdir(directory) == []


@pytest.mark.loop
def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = doctor(tmp_path / "file")
    assert (code, out) == (Exit.BACKING, "")
    assert "file cannot be opened: Not a directory" in err
    with loopfs.mounted("ext4", tmp_path) as point:
        loopfs.run("mount", "-o", "remount,ro", point)
        code, out, err = doctor(point)
    assert (code, out) == (Exit.BACKING, "")
    assert "takes no files, so nothing can be measured in it: Read-only file system" in err


def test_lines(tmp_path: Path) -> None:
    code, out, _ = doctor(tmp_path)
    assert code == Exit.OK
    assert all(len(line) < 80 for line in out.splitlines())
    names = [line[:16].rstrip() for line in out.splitlines() if line[0] != " "]
    assert [name for name in names if name in MACHINE] == MACHINE


@pytest.mark.root
def test_as_an_ordinary_user() -> None:
    found = findings(prefix=("runuser", "-u", "nobody", "--"))
    assert list(found) == MACHINE
    mode = os.stat("/dev/fuse").st_mode & 0o006
    assert found["/dev/fuse"] == (("ok", "opens") if mode == 0o006 else ("missing", "Permission denied"))
    assert found["seccomp notify"] == ("ok", "notifications of 80 bytes")
    assert found["fuse tracepoints"] == ("unknown", "cannot be looked at")


def test_machine() -> None:
    found = findings()
    assert found["kernel"] == ("ok", platform.release())
    assert found["cp"][1].startswith(f"coreutils {output('cp', '--version').splitlines()[0].split()[-1]}, ")
    assert found["drivers"][0] == "ok"


@pytest.mark.parametrize(
    ("release", "libfuse", "found"),
    [
        ("6.12.107", "3.14.0", "not sent"),
        ("6.18.44-fc", "3.14.0", "handled by fusecopy"),
        ("7.2.13", "3.18.0", "handled by libfuse"),
        ("6.18.0", "", "sent"),
    ],
)
def test_opcode_53(release: str, libfuse: str, found: str) -> None:
    assert serving.opcode_53(release, libfuse).found == found


@pytest.mark.parametrize(
    ("about", "usage", "state", "found"),
    [
        ("cp (GNU coreutils) 8.32\n", "", State.LIMITED, "coreutils 8.32, has no --debug"),
        ("cp (GNU coreutils) 9.7\n", "--debug", State.OK, "coreutils 9.7, --debug tells"),
        ("", "", State.UNKNOWN, "not of GNU coreutils"),
    ],
)
def test_cp(about: str, usage: str, state: State, found: str) -> None:
    assert watching.cp(about, usage)[1:3] == (state, found)


@pytest.mark.parametrize(
    ("release", "numbers"), [("6.18.44-fc-v669", (6, 18)), ("9.1", (9, 1)), ("6", (0, 0)), ("6.x", (0, 0))]
)
def test_version(release: str, numbers: tuple[int, int]) -> None:
    assert version(release) == numbers


def test_programs_that_are_missing_or_fail() -> None:
    assert output("/no/such/program") == ""
    assert output("false") == ""
