"""fusecopy verify -r and --pairs: every state of a file, in trees made to have it, in a mount and outside."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fusecopy.errors import Exit
from tests import loopfs
from tests.mounted import FUSECOPY, mounted

BLOCK = 4096


def verify(*arguments: str | Path, given: bytes = b"") -> tuple[int, str, str]:
    """Run the command: status, output, errors."""
    done = subprocess.run(
        [FUSECOPY, "verify", *map(str, arguments)], input=given, capture_output=True, timeout=60
    )
    return done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr)


def found(status: Exit, *arguments: str | Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """What --json says of each path, and the sums, when the command ends with `status`."""
    code, out, err = verify("--json", *arguments)
    assert code == status, err
    *files, sums = map(json.loads, out.splitlines())
    return {file["path"]: file for file in files}, sums


def clone(a: Path, b: Path) -> None:
    loopfs.run("cp", "-a", "--reflink=always", a, b)


@pytest.fixture
def trees(sharing_backing: Path) -> Iterator[tuple[Path, Path]]:
    """A tree and its clone, in every file of which a kind of change is still to be made."""
    top = sharing_backing / "verified"
    a, b = top / "a", top / "b"
    (a / "d" / "deep").mkdir(parents=True)
    for name in ("alike", "d/rewritten", "d/longer", "d/changed", "gone", "d/deep/hole", "name", "linked"):
        (a / name).write_bytes(os.urandom(20 * BLOCK))
    os.truncate(a / "d/deep/hole", 2 << 20)
    os.symlink("alike", a / "link")
    os.link(a / "name", a / "d/other name")
    (a / "empty").touch()
    clone(a, b)
    os.sync()
    yield a, b
    shutil.rmtree(top)


def change(a: Path, b: Path) -> None:
    """Make each kind of difference once."""
    (b / "d/rewritten").write_bytes((a / "d/rewritten").read_bytes())
    with (b / "d/longer").open("ab") as file:
        file.write(b"more")
    with (b / "d/changed").open("r+b") as file:
        file.write(b"\0" * BLOCK)
    (b / "gone").unlink()
    (b / "new").mkdir()
    (b / "new/file").write_bytes(b"x" * 100)
    (b / "link").unlink()
    os.symlink("elsewhere", b / "link")
    (b / "linked").unlink()
    os.link(a / "linked", b / "linked")


def test_a_clone_is_shared(trees: tuple[Path, Path]) -> None:
    files, sums = found(Exit.OK, "-r", *trees)
    assert {file["state"] for file in files.values()} == {"shared"}
    assert sums["files"] == {"shared": 9}, "the second name of a file is not counted again"
    assert (sums["rewritten"], sums["unprovable"]) == (0, 0)
    assert sums["shared"] == 8 * 20 * BLOCK
    assert sums["holes"] == (2 << 20) - 20 * BLOCK


def test_every_kind_of_difference(trees: tuple[Path, Path]) -> None:
    change(*trees)
    files, sums = found(Exit.NOT_SHARED, "-r", *trees)
    assert {path: file["state"] for path, file in files.items()} == {
        "alike": "shared",
        "d/changed": "different",
        "d/deep/hole": "shared",
        "d/longer": "different",
        "d/other name": "shared",
        "d/rewritten": "rewritten",
        "empty": "shared",
        "gone": "missing",
        "link": "different",
        "linked": "same file",
        "new/file": "extra",
    }
    assert files["d/rewritten"]["rewritten"] == 20 * BLOCK
    assert files["d/changed"]["shared"] == 19 * BLOCK
    assert sum(sums["files"].values()) == len(files)


def test_a_hole_where_the_other_has_data_is_different(trees: tuple[Path, Path]) -> None:
    """All that occupies storage in B is shared, and yet B is another file."""
    a, b = trees
    loopfs.run("fallocate", "--punch-hole", "--offset", str(BLOCK), "--length", str(BLOCK), b / "alike")
    files, _ = found(Exit.NOT_SHARED, "-r", a, b)
    assert files["alike"]["state"] == "different"
    with (a / "alike").open("r+b") as file:
        file.seek(BLOCK)
        file.write(b"\0" * BLOCK)
    files, _ = found(Exit.OK, "-r", a, b)
    assert files["alike"]["state"] == "shared"


def test_only_what_is_not_shared_is_listed(trees: tuple[Path, Path]) -> None:
    change(*trees)
    code, out, err = verify("-r", *trees)
    assert code == Exit.NOT_SHARED
    assert [line.split()[-1] for line in out.splitlines()[1:-2]] == [
        "d/changed", "d/longer", "d/rewritten", "gone", "link", "new/file",
    ]  # fmt: skip
    assert "6 of 11 files are not wholly shared" in err
    _, out, _ = verify("-r", "--all", *trees)
    assert len(out.splitlines()) == 1 + 11 + 2


def test_what_shares_less_than_before(trees: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = trees
    saved = tmp_path / "saved"
    saved.write_text(verify("-r", "--json", a, b)[1])
    assert verify("-r", "--compare", saved, a, b)[0] == Exit.OK
    change(a, b)
    code, out, err = verify("-r", "--compare", saved, a, b)
    assert code == Exit.NOT_SHARED
    assert [line.split()[-1] for line in out.splitlines()[1:-2]] == ["d/changed", "d/rewritten", "gone"]
    assert "3 files share less than they did" in err


def test_pairs(trees: tuple[Path, Path]) -> None:
    a, b = trees
    change(a, b)
    names = [a / "alike", b / "alike", a / "d/rewritten", b / "d/rewritten", a / "alike", b / "not there"]
    given = b"".join(os.fsencode(name) + b"\0" for name in names)
    code, out, _ = verify("--pairs", "-", "--all", given=given)
    assert code == Exit.NOT_SHARED
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["shared", "rewritten", "unreadable"]


@pytest.mark.fuse
def test_trees_in_a_mount(trees: tuple[Path, Path]) -> None:
    a, _ = trees
    with mounted(a.parent) as mount:
        (mount.path / "a/d/rewritten").write_bytes(b"y" * 3 * BLOCK)
        loopfs.run("cp", "--reflink=never", mount.path / "a/d/rewritten", mount.path / "b/d/rewritten")
        files, _ = found(Exit.NOT_SHARED, "-r", mount.path / "a", mount.path / "b")
        assert {path for path, file in files.items() if file["state"] != "shared"} == {"d/rewritten"}


def test_without_reflinks_everything_is_rewritten(ext4: Path) -> None:
    a, b = ext4 / "verified-a", ext4 / "verified-b"
    a.mkdir()
    (a / "file").write_bytes(b"z" * 3 * BLOCK)
    shutil.copytree(a, b)
    files, sums = found(Exit.NOT_SHARED, "-r", a, b)
    assert files["file"]["state"] == "rewritten"
    assert (sums["shared"], sums["rewritten"]) == (0, 3 * BLOCK)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-r", "."], "needs A and B"),
        (["-r", ".", "."], "are one directory"),
        (["-r", "not there", "."], "cannot be opened as a directory"),
        (["--all", "a", "b"], "go with -r or --pairs"),
        (["-r", "--pairs", "-", ".", ".."], "exclude each other"),
        (["--pairs", "not there"], "cannot be read"),
        (["--pairs", "/dev/null", "a", "b"], "names all files itself"),
        (["-r", "--compare", "/etc/passwd", ".", ".."], "is not what an earlier verify"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    code, _, err = verify(*arguments)
    assert code == Exit.USAGE
    assert message in err


@pytest.mark.parametrize("given", [b"a", b"a\0", b"a\0b\0c\0", b"a\0\0"])
def test_a_list_that_is_none_of_pairs(given: bytes) -> None:
    code, _, err = verify("--pairs", "-", given=given)
    assert code == Exit.USAGE
    assert "in pairs" in err
