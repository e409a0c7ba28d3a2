"""More than one filesystem below the backing, subvolumes, and an ordinary user's mount."""

import os
import subprocess
from functools import partial
from pathlib import Path

from tests import loopfs
from tests.conftest import require
from tests.mount.ordinary import nobodys_mount
from tests.mount.sides import NOBODY, Sides, as_caller, outcome
from tests.mounted import mounted


def test_files_of_two_filesystems_are_not_taken_for_hard_links(btrfs: Path) -> None:
    """Fresh filesystems of one kind give their first files the same numbers."""
    require("fuse")
    backing = btrfs / "two"
    backing.mkdir()
    with (
        loopfs.mount(backing / "one", "-t", "tmpfs", "none"),
        loopfs.mount(backing / "other", "-t", "tmpfs", "none"),
    ):
        for name in ("one", "other"):
            (backing / name / "f").write_text(name)
            os.link(backing / name / "f", backing / name / "link")
        assert (backing / "one" / "f").stat().st_ino == (backing / "other" / "f").stat().st_ino
        with mounted(backing) as mount:
            one, other = mount.path / "one", mount.path / "other"
            assert (one / "f").stat().st_ino == (one / "link").stat().st_ino
            assert (other / "f").stat().st_ino == (other / "link").stat().st_ino
            assert (one / "f").stat().st_ino != (other / "f").stat().st_ino
            assert ((one / "f").read_text(), (other / "f").read_text()) == ("one", "other")
            assert outcome(lambda: os.rename(one / "f", other / "g")) == "EXDEV"
            assert outcome(lambda: os.link(one / "f", other / "g")) == "EXDEV"
            subprocess.run(["cp", "-a", one, mount.path / "copy"], check=True)
            assert (mount.path / "copy" / "f").stat().st_nlink == 2
            assert (backing / "copy" / "link").read_text() == "one"


def test_a_filesystem_that_is_one_file(btrfs: Path) -> None:
    require("fuse")
    backing = btrfs / "bound-file"
    backing.mkdir()
    (backing / "source").write_bytes(b"bound")
    (backing / "target").touch()
    with mounted(backing) as mount:
        loopfs.run("mount", "--bind", "/etc/hostname", backing / "target")
        try:
            for _ in range(100_000):
                if (mount.path / "target").stat().st_size:
                    break
            assert (mount.path / "target").read_bytes() == Path("/etc/hostname").read_bytes()
        finally:
            loopfs.run("umount", "-l", backing / "target")


def test_the_mount_itself_bound_into_its_backing(btrfs: Path) -> None:
    """Whoever walks down would meet the mount in the mount, and the server would wait for itself."""
    require("fuse")
    backing = btrfs / "bound-mount"
    (backing / "deep" / "nest").mkdir(parents=True)
    (backing / "file").write_text("here")
    with mounted(backing, "--exclusive") as mount:
        loopfs.run("mount", "--bind", mount.path, backing / "deep" / "nest")
        try:
            assert sorted(os.listdir(mount.path / "deep")) == ["nest"]
            assert outcome(lambda: os.stat(mount.path / "deep" / "nest")) == "ELOOP"
            assert outcome(lambda: os.stat(mount.path / "deep" / "nest" / "file")) == "ELOOP"
            assert (backing / "deep" / "nest" / "file").read_text() == "here"
            found = subprocess.run(["find", "."], cwd=mount.path, capture_output=True, text=True, timeout=60)
            assert sorted(found.stdout.split()) == [".", "./deep", "./file"], "ELOOP there, once"
        finally:
            loopfs.run("umount", "-l", backing / "deep" / "nest")
        assert sorted(os.listdir(mount.path / "deep" / "nest")) == []


def test_subvolumes(btrfs_sides: Sides) -> None:
    """Their roots all have the number 256, and each has a device number of its own."""
    for name in ("s", "t"):
        subprocess.run(["btrfs", "-q", "subvolume", "create", btrfs_sides.behind / name], check=True)
        (btrfs_sides.mount / name / "f").write_text(name)
    subprocess.run(
        ["btrfs", "-q", "subvolume", "snapshot", btrfs_sides.behind / "s", btrfs_sides.behind / "u"],
        check=True,
    )
    assert len({(btrfs_sides.mount / name).stat().st_ino for name in "stu"}) == 3
    assert len({(btrfs_sides.mount / name / "f").stat().st_ino for name in "stu"}) == 3
    assert [(btrfs_sides.mount / name / "f").read_text() for name in "stu"] == ["s", "t", "s"]
    assert (btrfs_sides.behind / "s").stat().st_ino == (btrfs_sides.behind / "t").stat().st_ino == 256
    assert outcome(lambda: os.rmdir(btrfs_sides.mount / "t")) == "ENOTEMPTY"
    os.unlink(btrfs_sides.mount / "t" / "f")
    os.rmdir(btrfs_sides.mount / "t")
    assert not (btrfs_sides.behind / "t").exists()


def test_numbers_stay_the_same_from_mount_to_mount(btrfs: Path) -> None:
    """Whatever is looked at first: backup programs take a file of another number for a changed one."""
    require("fuse")
    backing = btrfs / "stable"
    backing.mkdir()
    with (
        loopfs.mount(backing / "tmpfs", "-t", "tmpfs", "none"),
        loopfs.mount(backing / "other", "-t", "tmpfs", "none"),
    ):
        for name in ("A", "B", "A/inner"):
            subprocess.run(["btrfs", "-q", "subvolume", "create", backing / name], check=True)
        places = ["A/f", "B/f", "A/inner/f", "tmpfs/f", "other/f", "f"]
        for place in places:
            (backing / place).touch()
            os.link(backing / place, backing / f"{place}-link")
        found = []
        for order in (places, places[::-1], places[2:] + places[:2]):
            with mounted(backing) as mount:
                numbers = {place: (mount.path / place).stat().st_ino for place in order}
                for place in places:
                    assert (mount.path / f"{place}-link").stat().st_ino == numbers[place]
            found.append(numbers)
        assert found[0] == found[1] == found[2]
        assert len(set(found[0].values())) == len(places)


def test_the_room_on_each_filesystem_below(btrfs: Path) -> None:
    require("fuse")
    backing = btrfs / "rooms"
    backing.mkdir()
    with loopfs.mount(backing / "below", "-t", "tmpfs", "-o", "size=7M", "none"), mounted(backing) as mount:
        (mount.path / "below" / "f").write_bytes(b"x" * 8192)
        for name in (".", "below", "below/f"):
            found, expected = os.statvfs(mount.path / name), os.statvfs(backing / name)
            assert (found.f_blocks, found.f_frsize) == (expected.f_blocks, expected.f_frsize)
        assert os.statvfs(mount.path / "below").f_bavail == os.statvfs(backing / "below").f_bavail


def test_an_ordinary_users_mount(btrfs: Path) -> None:
    require("fuse", "root", "loop")
    with nobodys_mount(btrfs) as mount:

        def act(_: Path) -> tuple[object, ...]:
            root = mount.path
            os.umask(0o022)
            (root / "d").mkdir()
            (root / "d" / "f").write_bytes(b"x" * 10_000)
            os.link(root / "d" / "f", root / "link")
            os.symlink("d/f", root / "s")
            os.setxattr(root / "d" / "f", "user.a", b"1")
            subprocess.run(["cp", "-a", root / "d", root / "copy"], check=True)
            os.rename(root / "copy", root / "d" / "moved")
            return sorted(os.listdir(root)), (root / "d" / "moved" / "f").read_bytes() == b"x" * 10_000

        assert as_caller(mount.backing, act) == (["d", "link", "s"], True)
        st = (mount.backing / "d" / "f").stat()
        assert (st.st_uid, st.st_gid, st.st_mode & 0o777, st.st_nlink) == (NOBODY, NOBODY, 0o644, 2)
        assert os.getxattr(mount.backing / "d" / "moved" / "f", "user.a") == b"1"
        # Nobody else may enter, not even root (fuse(4), allow_other).
        assert outcome(lambda: os.listdir(mount.path)) == "EACCES"


def test_an_ordinary_user_gains_nothing(btrfs: Path) -> None:
    require("fuse", "root", "loop")
    with nobodys_mount(btrfs) as mount:
        (mount.backing / "roots").write_bytes(b"secret")
        (mount.backing / "roots").chmod(0o600)
        (mount.backing / "listed").mkdir()
        (mount.backing / "listed" / "f").touch()
        os.chown(mount.backing / "listed", NOBODY, NOBODY)
        (mount.backing / "listed").chmod(0o444)
        at = mount.path
        assert as_caller(mount.backing, lambda _: (at / "roots").read_bytes()) == "EACCES"
        assert as_caller(mount.backing, lambda _: os.chmod(at / "roots", 0o666)) == "EPERM"
        assert as_caller(mount.backing, lambda _: os.chown(at / "listed", 0, 0)) == "EPERM"
        # Readable without being searchable: the names, and nothing of what they name.
        assert as_caller(mount.backing, lambda _: os.listdir(at / "listed")) == ["f"]
        assert as_caller(mount.backing, lambda _: (at / "listed" / "f").stat().st_size) == "EACCES"


def test_a_read_only_mount_stays_so_when_descriptors_are_opened_again(btrfs: Path) -> None:
    """A file handle leads to the file by whichever mount of its filesystem is at hand."""
    require("fuse")
    backing, other = btrfs / "with-read-only", btrfs / "read-only"
    (backing / "ro").mkdir(parents=True)
    other.mkdir()
    names = [f"f{number}" for number in range(61)]
    for name in names:
        (other / name).write_bytes(b"as it was")
        (backing / name).touch()
    loopfs.run("mount", "--bind", other, backing / "ro")
    try:
        loopfs.run("mount", "-o", "remount,bind,ro", backing / "ro")
        with mounted(backing, prefix=("prlimit", "--nofile=64:64", "--")) as mount:
            for directory in (mount.path / "ro", mount.path):
                for name in names:
                    (directory / name).stat()
            for name in names:
                assert outcome(partial((mount.path / "ro" / name).write_bytes, b"x")) == "EROFS"
    finally:
        loopfs.run("umount", "-l", backing / "ro")
    assert {(other / name).read_bytes() for name in names} == {b"as it was"}
