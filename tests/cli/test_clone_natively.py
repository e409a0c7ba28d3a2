"""fusecopy clone where no server is to be asked: the same trees as in a mount, or nothing."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from fusecopy.errors import Exit
from tests import loopfs
from tests.cli.commands import NOBODY as AS_NOBODY
from tests.cli.commands import run
from tests.mount.sides import NOBODY
from tests.mount.trees import BLOCK, acl, described, fill, many, write
from tests.mounted import FUSECOPY

pytestmark = [pytest.mark.root, pytest.mark.loop]


@pytest.mark.parametrize("umask", [0, 0o77])
def test_a_tree_is_what_cp_makes_of_it(sharing_backing: Path, umask: int) -> None:
    fill(sharing_backing / "src")
    loopfs.run("cp", "-a", sharing_backing / "src", sharing_backing / "native")
    before = os.umask(umask)
    try:
        done = run("clone", "-r", sharing_backing / "src", sharing_backing / "dst")
    finally:
        os.umask(before)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 rewritten" in done.stdout
    assert described(sharing_backing / "dst") == described(sharing_backing / "native")
    assert sorted(os.listdir(sharing_backing)) == ["dst", "native", "src"]


def test_nobody_keeps_what_cp_keeps(sharing_backing: Path) -> None:
    """From root's tree, and the one that cp makes of that for nobody."""
    sharing_backing.chmod(0o777)
    fill(sharing_backing / "src", NOBODY)
    (sharing_backing / "src/tail").chmod(0o644)
    inside = ("env", "-C", str(sharing_backing), *AS_NOBODY)
    subprocess.run([*inside, "cp", "-a", "src", "native"], check=True, timeout=60)
    done = run("clone", "-qr", "src", "dst", prefix=inside)
    assert (done.returncode, done.stderr) == (0, "")
    found, expected = described(sharing_backing / "dst"), described(sharing_backing / "native")
    for entries in (found, expected):
        # As test_clone_trees has it: some versions of cp take the sticky bit of such a directory away.
        entries["sticky"] = entries["sticky"]._replace(mode=0)
    assert found == expected


@pytest.mark.parametrize("how", [(), ("--how", "reflink")], ids=["by default", "reflink"])
def test_what_cannot_be_shared_is_refused(ext4: Path, how: tuple[str, ...]) -> None:
    place = ext4 / f"refused{len(how)}"
    (place / "src").mkdir(parents=True)
    write(place / "src/file", os.urandom(BLOCK))
    done = run("clone", "-r", *how, place / "src", place / "dst")
    assert done.returncode == Exit.STRICT
    assert "file: EOPNOTSUPP: The filesystem ext4" in done.stderr
    assert os.listdir(place) == ["src"]


def test_a_copy_is_made_where_it_is_asked_for(backing: Path) -> None:
    fill(backing / "src")
    loopfs.run("cp", "-a", backing / "src", backing / "native")
    done = run("clone", "-r", "--how", "copy", backing / "src", backing / "dst")
    assert (done.returncode, done.stderr) == (0, "")
    assert ": 0 shared, " in done.stdout
    assert described(backing / "dst") == described(backing / "native")


def test_other_filesystems_are_refused(sharing_backing: Path, ext4: Path) -> None:
    write(sharing_backing / "file", os.urandom(BLOCK))
    done = run("clone", sharing_backing / "file", ext4 / "new")
    assert (done.returncode, "EXDEV" in done.stderr) == (Exit.STRICT, True), done.stderr
    assert not (ext4 / "new").exists()
    (sharing_backing / "src").mkdir()
    with loopfs.mount(sharing_backing / "src/below", "-t", "tmpfs", "tmpfs"):
        (sharing_backing / "src/below/file").write_bytes(b"x")
        done = run("clone", "-r", sharing_backing / "src", sharing_backing / "new")
    assert (done.returncode, "below: EXDEV: Another filesystem" in done.stderr) == (1, True), done.stderr
    assert not (sharing_backing / "new").exists()


def test_subvolumes_are_one_filesystem(btrfs: Path) -> None:
    for name in ("one", "other"):
        loopfs.run("btrfs", "subvolume", "create", btrfs / name)
    fill(btrfs / "one/src")
    done = run("clone", "-qr", btrfs / "one", btrfs / "other/dst")
    assert (done.returncode, done.stderr) == (0, "")
    assert described(btrfs / "other/dst/src") == described(btrfs / "one/src")


@pytest.mark.parametrize("nocow", ["source", "destination"])
def test_alike_in_no_cow(btrfs: Path, nocow: str) -> None:
    """Which btrfs asks for, and which is not inherited from the directory then."""
    place = btrfs / f"nocow-{nocow}"
    for name in ("source", "destination"):
        (place / name).mkdir(parents=True)
    loopfs.run("chattr", "+C", place / nocow)
    for number in range(3):
        write(place / f"source/f{number}", os.urandom(BLOCK))
    done = run("clone", "-r", place / "source", place / "destination")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{3 * BLOCK} shared, 0 rewritten" in done.stdout
    flags = loopfs.run("lsattr", place / "destination/source/f1").split()[0]
    assert ("C" in flags) == (nocow == "source")


def test_destinations(sharing_backing: Path) -> None:
    (sharing_backing / "src/in").mkdir(parents=True)
    (sharing_backing / "into").mkdir()
    os.setxattr(sharing_backing / "into", "system.posix_acl_default", acl(NOBODY))
    assert run("clone", "-qr", sharing_backing / "src", sharing_backing / "into").returncode == 0
    assert os.listdir(sharing_backing / "into/src") == ["in"]
    assert os.listxattr(sharing_backing / "into/src/in") == []
    again = run("clone", "-r", sharing_backing / "src", sharing_backing / "into")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    inside = run("clone", "-r", sharing_backing / "src", sharing_backing / "src/in/new")
    assert (inside.returncode, "lies in the source" in inside.stderr) == (Exit.USAGE, True)
    nowhere = run("clone", "-r", sharing_backing / "src", sharing_backing / "no/where")
    assert (nowhere.returncode, "No such file" in nowhere.stderr) == (1, True)
    assert sorted(os.listdir(sharing_backing)) == ["into", "src"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(btrfs: Path, number: signal.Signals) -> None:
    place = btrfs / number.name
    place.mkdir()
    many(place / "src")
    command = [FUSECOPY, "clone", "-r", str(place / "src"), str(place / "dst")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not any(any(name.iterdir()) for name in place.glob(".fusecopy-clone-*")):
            assert process.poll() is None, "it ended before anything was seen of it"
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, "interrupted; nothing of it is left" in said) == (1, True), said
    assert os.listdir(place) == ["src"]
