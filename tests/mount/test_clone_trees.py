"""fusecopy clone: whole trees by one request, compared with what cp -a makes of them."""

import mmap
import os
import re
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from fusecopy.cli.clone import command as clone
from fusecopy.errors import Exit
from tests import loopfs
from tests.cli.commands import NOBODY as AS_NOBODY
from tests.cli.commands import run
from tests.mount.ordinary import nobodys_mount
from tests.mount.sides import NOBODY, Sides, as_caller
from tests.mount.trees import BLOCK, acl, described, fill, told, write
from tests.mounted import FUSECOPY, Mounted, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]


def leftovers(directory: Path) -> list[str]:
    return [name for name in os.listdir(directory) if name.startswith(".fusecopy-clone-")]


def test_a_tree_is_what_cp_makes_of_it(sides: Sides) -> None:
    fill(sides.behind / "src")
    loopfs.run("cp", "-a", sides.behind / "src", sides.behind / "native")
    done = run("clone", "-r", sides.mount / "src", sides.mount / "dst")
    assert (done.returncode, done.stderr) == (0, "")
    assert (sides.behind / "dst/empty").stat().st_atime_ns == (sides.behind / "src/empty").stat().st_atime_ns
    expected = described(sides.behind / "native")
    assert described(sides.behind / "dst") == expected
    assert leftovers(sides.behind) == []

    tree, copies = told(sides.mounted, sides.mount / "dst")
    files = [entry for entry in expected.values() if entry.mode >> 12 == 0o10]
    assert tree.files + tree.links == len(files)
    assert (tree.links, tree.directories, tree.errno) == (2, 4, None)
    assert tree.other == 5
    assert {(copy.asked, copy.driver, copy.requests.copies) for copy in copies} == {("clone", "ioctl", 0)}
    assert len(copies) == tree.files - 1, "all but the empty one"
    assert tree.bytes == sum(copy.copied or 0 for copy in copies)
    assert tree.shared == sum(copy.shared or 0 for copy in copies)


@pytest.mark.parametrize("how", ["reflink", "copy"])
def test_sharing_is_proven(sharing_backing: Path, how: str) -> None:
    write(sharing_backing / "file", os.urandom(8 * BLOCK))
    with mounted(sharing_backing) as mount:
        done = run("clone", "--how", how, mount.path / "file", mount.path / "new")
        assert (done.returncode, done.stderr) == (0, "")
        tree, (copy,) = told(mount, mount.path / "new")
        size, shared = 8 * BLOCK, 8 * BLOCK if how == "reflink" else 0
        assert (
            done.stdout
            == f"{mount.path}/new: 1 files, {size} bytes: {shared} shared, {size - shared} rewritten\n"
        )
        assert (tree.how, tree.files, tree.bytes, tree.shared) == (how, 1, size, shared)
        assert (copy.shared, copy.rewritten, copy.dst) == (shared, size - shared, "new")
        assert mount.attribute("stats").count('"copies": {"dispatched": 1}') == 1, "the tree is no copy"
        assert "new: 1 files, 0 directories" in run("log", mount.path).stdout
        assert re.search(r"^total +1 ", run("log", "-c", mount.path).stdout, re.MULTILINE)
        last = os.getxattr(mount.path / "new", "user.fusecopy.copy")
        assert b'"asked":"clone"' in last


def test_what_cannot_be_cloned_is_carried_another_way(tmp_path: Path) -> None:
    """A file without checksums among others that have them: each has one record, and that of its own path."""
    with loopfs.mounted("btrfs", tmp_path, options="nodatasum") as backing:
        source = backing / "src"
        source.mkdir()
        write(source / "plain", os.urandom(BLOCK))
        loopfs.run("mount", "-o", "remount,datasum", backing)
        for number in range(20):
            write(source / f"f{number}", os.urandom(BLOCK))
        with mounted(backing) as mount:
            done = run("clone", "-qr", mount.path / "src", mount.path / "dst")
            assert (done.returncode, done.stderr) == (0, "")
            _each_has_its_record(mount, backing)


def _each_has_its_record(mount: Mounted, backing: Path) -> None:
    source = backing / "src"
    tree, copies = told(mount, mount.path / "dst")
    assert (tree.files, tree.shared, tree.rewritten) == (21, 20 * BLOCK, BLOCK)
    names = sorted(path.name for path in source.iterdir())
    prefix = os.path.dirname(tree.src)
    assert sorted(copy.src for copy in copies) == sorted(os.path.join(prefix, "src", name) for name in names)
    for copy in copies:
        name = os.path.basename(copy.dst)
        assert (source / name).read_bytes() == (backing / "dst" / name).read_bytes()
        moved = name == "plain"
        assert (copy.path == "reflink", copy.shared) == (not moved, 0 if moved else BLOCK)
        last = os.getxattr(mount.path / "dst" / name, "user.fusecopy.copy")
        assert msgspec.json.decode(last)["seq"] == copy.seq


def test_reflink_or_not_at_all(ext4: Path, tmp_path: Path) -> None:
    backing = ext4 / "reflink-or-not"
    backing.mkdir()
    write(backing / "file", os.urandom(BLOCK))
    with mounted(backing) as mount:
        for policy, words in (("default", ["--how", "reflink"]), ("strict", [])):
            mount.policy(policy)
            done = run("clone", *words, mount.path / "file", mount.path / "new")
            assert done.returncode == Exit.STRICT
            assert "EOPNOTSUPP: The filesystem ext4" in done.stderr
            assert os.listdir(backing) == ["file"]
        tree, copies = told(mount, mount.path / "new")
        assert (tree.errno, tree.files, copies) == ("EOPNOTSUPP", 0, [])
        shown = run("log", mount.path, "-x").stdout
        assert "EOPNOTSUPP: The filesystem ext4" in shown


def test_it_is_there_at_once(btrfs_sides: Sides) -> None:
    """Although the name was looked up, the directory listed and its attributes read before."""
    (btrfs_sides.mount / "src").mkdir()
    assert not (btrfs_sides.mount / "dst").exists()
    links, listed = btrfs_sides.mount.stat().st_mtime_ns, os.listdir(btrfs_sides.mount)
    assert run("clone", "-qr", btrfs_sides.mount / "src", btrfs_sides.mount / "dst").returncode == 0
    assert (btrfs_sides.mount / "dst").is_dir()
    assert sorted(os.listdir(btrfs_sides.mount)) == sorted([*listed, "dst"])
    assert btrfs_sides.mount.stat().st_mtime_ns > links


def test_what_mmap_wrote_is_in_the_clone(btrfs_sides: Sides) -> None:
    """In a tree, because the kernel writes out the pages of a file that is opened; in this process, because
    a child that closes what it has inherited does so too."""
    path = btrfs_sides.mount / "src/mapped"
    path.parent.mkdir()
    path.write_bytes(bytes(BLOCK))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), BLOCK) as mapped:
        mapped[:6] = b"mapped"
        clone.main(["-qr", str(path.parent), str(btrfs_sides.mount / "dst")], standalone_mode=False)
    assert (btrfs_sides.behind / "dst/mapped").read_bytes()[:6] == b"mapped"


def test_destinations(btrfs_sides: Sides) -> None:
    mount, behind = btrfs_sides.mount, btrfs_sides.behind
    (behind / "src/in").mkdir(parents=True)
    (behind / "into").mkdir()
    assert run("clone", "-qr", mount / "src", mount / "into").returncode == 0
    assert os.listdir(behind / "into/src") == ["in"]
    again = run("clone", "-qr", mount / "src", mount / "into")
    assert (again.returncode, "exists already" in again.stderr) == (1, True)
    inside = run("clone", "-qr", mount / "src", mount / "src/in/new")
    assert (inside.returncode, "lies in the source" in inside.stderr) == (Exit.USAGE, True)
    plain = run("clone", mount / "src", mount / "new")
    assert (plain.returncode, "with -r" in plain.stderr) == (Exit.USAGE, True)
    os.symlink("src", behind / "link")
    link = run("clone", "-r", mount / "link", mount / "new")
    assert (link.returncode, "neither a regular file" in link.stderr) == (Exit.USAGE, True)
    across = run("clone", "-r", behind / "src", mount / "new")
    assert (across.returncode, "not in one mount" in across.stderr) == (Exit.USAGE, True)
    assert sorted(os.listdir(behind)) == ["into", "link", "src"]


ASKING = """
import fcntl, os, sys
from fusecopy import ioctls
source, marker = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_CREAT | int(sys.argv[3]))
beside = os.path.dirname(sys.argv[2])
token, data = bytearray(ioctls.SECRET_BYTES), bytearray(ioctls.ANSWER_BYTES)
fcntl.ioctl(source, ioctls.SOURCE, token, True)
call = ioctls.TreeRequest(bytes(token), "", b"new").pack()
data[:len(call)] = call
before = os.path.exists(sys.argv[2]), os.path.exists(beside + "/new"), os.stat(beside).st_mtime_ns
fcntl.ioctl(marker, ioctls.TREE, data, True)
after = os.path.exists(sys.argv[2]), os.path.exists(beside + "/new"), os.stat(beside).st_mtime_ns
answer = ioctls.Answer.unpack(bytes(data))
print(answer.errno, answer.cause, before[:2], after[:2], before[2] != after[2])
"""


def ask(source: Path, marker: Path, flags: int) -> "subprocess.CompletedProcess[str]":
    """The request alone, without what the command does around it."""
    command = (Path(FUSECOPY).with_name("python"), "-c", ASKING, source, marker, str(flags))
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_kernel_forgets_what_it_knew(btrfs: Path) -> None:
    """The marker, which is gone, and the directory's times; it might believe them for an hour."""
    backing = btrfs / "forgetting"
    (backing / "src").mkdir(parents=True)
    with mounted(backing, "-o", "timeout=3600") as mount:
        done = ask(mount.path / "src", mount.path / "marker", os.O_WRONLY)
    assert (done.stdout, done.stderr) == ("0  (True, False) (False, True) True\n", "")
    assert sorted(os.listdir(backing)) == ["new", "src"]


def test_the_server_itself_sees_a_destination_in_the_source(btrfs_sides: Sides) -> None:
    (btrfs_sides.behind / "src/in").mkdir(parents=True)
    done = ask(btrfs_sides.mount / "src", btrfs_sides.mount / "src/in/marker", os.O_WRONLY)
    assert done.stdout.startswith("22 The destination lies in the source. "), done
    assert os.listdir(btrfs_sides.behind / "src/in") == []


def test_a_marker_that_is_open_for_reading_shows_nothing(btrfs_sides: Sides) -> None:
    (btrfs_sides.behind / "src").mkdir()
    (btrfs_sides.behind / "marker").touch()
    done = ask(btrfs_sides.mount / "src", btrfs_sides.mount / "marker", os.O_RDONLY)
    assert "Bad file descriptor" in done.stderr
    assert sorted(os.listdir(btrfs_sides.behind)) == ["marker", "src"]


def test_a_read_only_view_stays_read_only(btrfs_sides: Sides, tmp_path: Path) -> None:
    (btrfs_sides.behind / "src").mkdir()
    with loopfs.mount(tmp_path / "view", "--bind", str(btrfs_sides.mount)) as view:
        loopfs.run("mount", "-o", "remount,bind,ro", view)
        done = run("clone", "-r", view / "src", view / "new")
    assert (done.returncode, "Read-only file system" in done.stderr) == (1, True)
    assert os.listdir(btrfs_sides.behind) == ["src"]


def test_a_deep_tree(sides: Sides) -> None:
    deepest = sides.behind / "src"
    for _ in range(200):
        deepest = deepest / "d"
    deepest.mkdir(parents=True)
    write(deepest / "file", b"deep")
    assert run("clone", "-qr", sides.mount / "src", sides.mount / "dst").returncode == 0
    assert (sides.behind / "dst" / deepest.relative_to(sides.behind / "src") / "file").read_bytes() == b"deep"


def test_inherited_acls_are_not_kept(sides: Sides) -> None:
    """The directory of the destination has a default ACL, the source has none."""
    (sides.behind / "src").mkdir()
    write(sides.behind / "src/file", b"x", 0o640)
    (sides.behind / "to").mkdir()
    os.setxattr(sides.behind / "to", "system.posix_acl_default", acl(NOBODY))
    assert run("clone", "-qr", sides.mount / "src", sides.mount / "to").returncode == 0
    assert run("clone", "-q", sides.mount / "src/file", sides.mount / "to").returncode == 0
    for name in ("src", "src/file", "file"):
        assert os.listxattr(sides.behind / "to" / name) == [], name


def test_a_mount_point_below_is_not_crossed(btrfs_sides: Sides) -> None:
    (btrfs_sides.behind / "src").mkdir()
    with loopfs.mount(btrfs_sides.behind / "src/tmp", "-t", "tmpfs", "tmpfs"):
        (btrfs_sides.behind / "src/tmp/file").write_bytes(b"x")
        done = run("clone", "-r", btrfs_sides.mount / "src", btrfs_sides.mount / "dst")
    assert done.returncode == 1
    assert "tmp: EXDEV: Another filesystem is mounted there." in done.stderr
    assert os.listdir(btrfs_sides.behind) == ["src"]


# ---- rights --------------------------------------------------------------------------------------------


def test_nobody_keeps_what_cp_keeps(sides: Sides) -> None:
    fill(sides.behind / "src", NOBODY)
    (sides.behind / "src").chmod(0o755)
    (sides.behind / "src/tail").chmod(0o644)
    copy = ("cp", "-a", "src", "native")
    assert as_caller(sides.behind, lambda _: subprocess.run(copy, timeout=60).returncode) == 0
    done = run("clone", "-qr", sides.mount / "src", sides.mount / "dst", prefix=AS_NOBODY)
    assert (done.returncode, done.stderr) == (0, "")
    found = described(sides.behind / "dst")
    expected = described(sides.behind / "native")
    # cp of coreutils 9.7 (9.1 does not) takes the sticky bit away together with root's setuid and setgid, and
    # leaves a directory in which everybody may delete what is another's.
    sticky = expected["sticky"]
    expected["sticky"] = sticky._replace(mode=sticky.mode | stat.S_ISVTX)
    assert found == expected
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(NOBODY, NOBODY)}
    assert found["d/read-only/in"].mode & 0o7777 == 0o755, "setuid of root must not become nobody's"


def test_nobody_keeps_no_trusted_attributes_or_capabilities(btrfs_sides: Sides) -> None:
    fill(btrfs_sides.behind / "src")
    source = btrfs_sides.behind / "src/capable"
    os.setxattr(source, "trusted.note", b"for root")
    assert (
        run(
            "clone", "-q", btrfs_sides.mount / "src/capable", btrfs_sides.mount / "new", prefix=AS_NOBODY
        ).returncode
        == 0
    )
    assert os.listxattr(btrfs_sides.behind / "new") == []


@pytest.mark.parametrize(
    "prefix", [AS_NOBODY, (*AS_NOBODY, "unshare", "--user", "--map-root-user")], ids=["plain", "namespace"]
)
def test_nobody_reads_and_writes_no_more_than_it_may(sides: Sides, prefix: tuple[str, ...]) -> None:
    (sides.behind / "src/d").mkdir(parents=True)
    write(sides.behind / "src/d/secret", b"secret", 0o600)
    write(sides.behind / "src/open", b"open")
    done = run("clone", "-r", sides.mount / "src", sides.mount / "dst", prefix=prefix)
    assert (done.returncode, "d/secret: EACCES: Permission denied" in done.stderr) == (1, True), done.stderr
    (sides.behind / "closed").mkdir(mode=0o755)
    done = run("clone", "-q", sides.mount / "src/open", sides.mount / "closed/new", prefix=prefix)
    assert (done.returncode, "Permission denied" in done.stderr) == (1, True), done.stderr
    assert sorted(os.listdir(sides.behind)) == ["closed", "src"]
    assert os.listdir(sides.behind / "closed") == []


def test_a_root_without_capabilities_gains_none(btrfs_sides: Sides) -> None:
    """As in a container: user 0 with less than root's rights."""
    fill(btrfs_sides.behind / "src")
    secret = write(btrfs_sides.behind / "secret", b"secret", 0o600)
    os.chown(secret, 1001, 1001)
    less = ("setpriv", "--bounding-set=-mknod,-dac_override,-dac_read_search", "--")
    done = run("clone", "-r", btrfs_sides.mount / "src", btrfs_sides.mount / "new", prefix=less)
    # Whichever is met first: on a busy machine the device is not always before the file of another's.
    denied = "null: EPERM" in done.stderr or "theirs: EACCES" in done.stderr
    assert (done.returncode, denied) == (1, True), done.stderr
    (btrfs_sides.behind / "src2").mkdir()
    os.rename(secret, btrfs_sides.behind / "src2/secret")
    done = run("clone", "-r", btrfs_sides.mount / "src2", btrfs_sides.mount / "new", prefix=less)
    assert (done.returncode, "secret: EACCES" in done.stderr) == (1, True), done.stderr
    assert sorted(os.listdir(btrfs_sides.behind)) == ["src", "src2"]


def test_nobodys_own_mount(btrfs: Path) -> None:
    with nobodys_mount(btrfs) as mount:
        act = (*AS_NOBODY, "env")
        fill(mount.backing / "src", NOBODY)
        loopfs.run("chown", "-R", "-h", f"{NOBODY}:{NOBODY}", mount.backing / "src")
        done = run("clone", "-qr", mount.path / "src", mount.path / "dst", prefix=act)
        assert (done.returncode, done.stderr) == (0, "")
        loopfs.run(*AS_NOBODY, "cp", "-a", mount.backing / "src", mount.backing / "native")
        assert described(mount.backing / "dst") == described(mount.backing / "native")
