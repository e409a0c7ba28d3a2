"""Root serves everybody: what ordinary users make is theirs, and nobody gains a right."""

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mount.sides import NOBODY, Sides, as_caller, opened

GROUP, OTHER_GROUP = 54321, 54322

CAPABILITY = bytes((0, 0, 0, 2)) + bytes(16)
"""A well-formed value of security.capability, of revision 2, with no capabilities in it."""


def make_one_of_each(root: Path) -> None:
    """A file, a directory, a symlink, a fifo, a socket, and a file made by mknod, with umask 027."""
    os.umask(0o027)
    os.close(os.open(root / "file", os.O_RDWR | os.O_CREAT, 0o666))
    os.mkdir(root / "directory", 0o777)
    os.symlink("x", root / "symlink")
    os.mkfifo(root / "fifo", 0o666)
    os.mknod(root / "socket", stat.S_IFSOCK | 0o666)
    os.mknod(root / "node", stat.S_IFREG | 0o666)


def owners(root: Path) -> dict[str, tuple[int, int, int]]:
    """Who owns what, with its mode."""
    return {
        e.name: (s.st_uid, s.st_gid, s.st_mode)
        for e in os.scandir(root)
        for s in [e.stat(follow_symlinks=False)]
    }


def getfacl(path: Path) -> str:
    """The ACL as getfacl prints it, without the file's name."""
    command = ["getfacl", "--omit-header", "--absolute-names", "--numeric", str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_what_a_user_makes_is_theirs(sides: Sides) -> None:
    assert sides.as_caller(make_one_of_each, gid=GROUP) is None
    found = sides.both(owners)
    assert {(uid, gid) for uid, gid, _ in found.values()} == {(NOBODY, GROUP)}
    assert stat.S_IMODE(found["file"][2]) == stat.S_IMODE(found["node"][2]) == 0o640
    assert stat.S_IMODE(found["directory"][2]) == 0o750


def test_a_setgid_directory_gives_its_group(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        os.chown(root, 0, GROUP)
        os.chmod(root, 0o2777)

    sides.both(set_up)
    assert sides.as_caller(make_one_of_each) is None
    found = sides.both(owners)
    assert {gid for _, gid, _ in found.values()} == {GROUP}
    assert found["directory"][2] & stat.S_ISGID


@pytest.mark.parametrize("groups", [(), (GROUP,)])
def test_the_setgid_bit_survives_for_members_only(sides: Sides, groups: tuple[int, ...]) -> None:
    """A new executable in a setgid directory keeps the bit only if its maker is in the group."""

    def set_up(root: Path) -> None:
        os.chown(root, 0, GROUP)
        os.chmod(root, 0o2777)

    def act(root: Path) -> tuple[int, int]:
        os.umask(0)
        os.close(os.open(root / "f", os.O_RDWR | os.O_CREAT, 0o2775))
        made = os.stat(root / "f").st_mode
        os.chmod(root / "f", 0o2775)
        return made, os.stat(root / "f").st_mode

    sides.both(set_up)
    made, changed = sides.as_caller(act, groups=groups)
    assert bool(made & stat.S_ISGID) == bool(changed & stat.S_ISGID) == bool(groups)


def test_supplementary_groups_count(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        (root / "f").write_bytes(b"for the group")
        os.chown(root / "f", 0, GROUP)
        os.chmod(root / "f", 0o640)
        os.mkdir(root / "d")
        os.chown(root / "d", 0, GROUP)
        os.chmod(root / "d", 0o770)

    def act(root: Path) -> bytes:
        (root / "d" / "mine").touch()
        return (root / "f").read_bytes()

    sides.both(set_up)
    assert sides.as_caller(act) == "EACCES"
    assert sides.as_caller(act, groups=[OTHER_GROUP]) == "EACCES"
    assert sides.as_caller(act, groups=[OTHER_GROUP, GROUP]) == b"for the group"


def test_chown_to_own_groups_only(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        (root / "f").touch()
        os.chown(root / "f", NOBODY, NOBODY)

    def act(root: Path) -> int:
        os.chown(root / "f", -1, GROUP)
        return os.stat(root / "f").st_gid

    sides.both(set_up)
    assert sides.as_caller(act) == "EPERM"
    assert sides.as_caller(act, groups=[GROUP]) == GROUP
    assert sides.as_caller(lambda root: os.chown(root / "f", 0, -1)) == "EPERM"


ACTS: dict[str, Callable[[int], object]] = {
    "write": lambda fd: os.pwrite(fd, b"x", 0),
    "truncate": lambda fd: os.ftruncate(fd, 3),
    "allocate": lambda fd: os.posix_fallocate(fd, 0, 9000),
    "copy": lambda fd: _copy(fd),
    "chown": lambda fd: os.fchown(fd, -1, GROUP),
    "read": lambda fd: os.pread(fd, 1, 0),
}


def _copy(fd: int) -> None:
    with opened(Path("source"), os.O_RDONLY) as source:
        assert os.copy_file_range(source, fd, 8192, 0, 0) == 8192


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("uid", [NOBODY, 0])
def test_privileges_of_a_file_go_when_it_changes(sides: Sides, act: str, uid: int) -> None:
    """setuid, setgid and capabilities, for whom and when the filesystem itself drops them."""

    def set_up(root: Path) -> None:
        (root / "source").write_bytes(b"s" * 8192)
        (root / "f").write_bytes(b"p" * 8192)
        os.chown(root / "f", NOBODY, NOBODY)
        subprocess.run(["setcap", "cap_net_raw+ep", root / "f"], check=True)
        os.chmod(root / "f", 0o6777)

    def change(root: Path) -> None:
        with opened(root / "f") as fd:
            ACTS[act](fd)

    def state(root: Path) -> tuple[int, list[str]]:
        return stat.S_IMODE(os.stat(root / "f").st_mode), os.listxattr(root / "f")

    sides.both(set_up)
    assert sides.as_caller(change, uid=uid, groups=[GROUP]) is None
    mode, names = sides.both(state)
    if act == "read":
        assert (mode, names) == (0o6777, ["security.capability"])
    elif uid == NOBODY:
        assert (mode, names) == (0o777, [])


def test_a_copy_made_by_another_user_leaves_no_privileges(sides: Sides) -> None:
    """The one that matters: a setuid file of root's must not stay so with somebody else's contents."""

    def set_up(root: Path) -> None:
        (root / "source").write_bytes(b"s" * 8192)
        (root / "f").touch()
        os.chmod(root / "f", 0o6777)

    def change(root: Path) -> None:
        with opened(root / "f", os.O_WRONLY) as fd:
            _copy(fd)

    sides.both(set_up)
    assert sides.as_caller(change) is None
    assert sides.both(
        lambda root: (os.stat(root / "f").st_uid, stat.S_IMODE(os.stat(root / "f").st_mode))
    ) == (0, 0o777)
    assert (sides.behind / "f").read_bytes() == b"s" * 8192


def test_a_sticky_directory_protects_its_files(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        os.chmod(root, 0o1777)
        (root / "roots").write_bytes(b"r")
        (root / "mine").write_bytes(b"m")
        os.chown(root / "mine", NOBODY, NOBODY)

    sides.both(set_up)
    assert sides.as_caller(lambda root: os.unlink(root / "roots")) == "EPERM"
    assert sides.as_caller(lambda root: os.rename(root / "mine", root / "roots")) == "EPERM"
    assert sides.as_caller(lambda root: os.rename(root / "mine", root / "still mine")) is None
    assert sides.as_caller(lambda root: os.unlink(root / "still mine")) is None


def test_no_rights_are_gained(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        (root / "secret").write_bytes(b"s")
        os.chmod(root / "secret", 0o600)
        os.mkdir(root / "locked", 0o700)
        (root / "locked" / "f").write_bytes(b"f")
        os.chmod(root / "locked" / "f", 0o666)

    sides.both(set_up)
    refused = {
        "read": lambda root: (root / "secret").read_bytes(),
        "write": lambda root: (root / "secret").write_bytes(b""),
        "truncate": lambda root: os.truncate(root / "secret", 0),
        "search": lambda root: (root / "locked" / "f").read_bytes(),
        "list": lambda root: os.listdir(root / "locked"),
        "make": lambda root: (root / "locked" / "g").touch(),
        "attribute": lambda root: os.setxattr(root / "secret", "user.a", b""),
    }
    for name, act in refused.items():
        assert sides.as_caller(act) == "EACCES", name
    for act in (
        lambda root: os.chmod(root / "secret", 0o666),
        lambda root: os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3)),
        lambda root: os.mknod(root / "disk", stat.S_IFBLK | 0o666, os.makedev(254, 0)),
        lambda root: os.setxattr(root, "trusted.a", b""),
        lambda root: os.setxattr(root / "secret", "security.capability", CAPABILITY),
    ):
        assert sides.as_caller(act) == "EPERM"
    assert (sides.behind / "secret").read_bytes() == b"s"


def test_access_is_what_the_modes_say(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        for mode in range(8):
            (root / f"f{mode}").touch()
            os.chmod(root / f"f{mode}", 0o750 | mode)

    def act(root: Path) -> list[list[bool]]:
        return [[os.access(root / f"f{mode}", how) for how in (4, 2, 1)] for mode in range(8)]

    sides.both(set_up)
    assert sides.as_caller(act) == [[bool(mode & how) for how in (4, 2, 1)] for mode in range(8)]


def test_an_acl_gives_and_takes(sides: Sides) -> None:
    def set_up(root: Path) -> str:
        (root / "f").write_bytes(b"x")
        os.chmod(root / "f", 0o600)
        subprocess.run(["setfacl", "-m", f"u:{NOBODY}:r,g:{GROUP}:rw", root / "f"], check=True)
        return getfacl(root / "f")

    assert f"user:{NOBODY}:r--" in sides.both(set_up)
    assert sides.as_caller(lambda root: (root / "f").read_bytes()) == b"x"
    assert sides.as_caller(lambda root: (root / "f").write_bytes(b"y")) == "EACCES"
    assert sides.as_caller(lambda root: (root / "f").write_bytes(b"y"), uid=1234, gid=GROUP) == 1

    def mask(root: Path) -> str:
        os.chmod(root / "f", 0o640)
        return getfacl(root / "f")

    assert "mask::r--" in sides.both(mask)
    sides.both(lambda root: subprocess.run(["setfacl", "-b", root / "f"], check=True).returncode)
    assert sides.as_caller(lambda root: (root / "f").read_bytes()) == "EACCES"


def test_a_default_acl_takes_the_umasks_place(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        subprocess.run(["setfacl", "-d", "-m", f"u:{NOBODY}:rwx,g::rwx,o::r", root], check=True)

    sides.both(set_up)
    assert sides.as_caller(make_one_of_each) is None
    found = sides.both(owners)
    assert stat.S_IMODE(found["file"][2]) == 0o664
    assert stat.S_IMODE(found["directory"][2]) == 0o774
    for name in ("file", "directory", "fifo"):
        assert f"user:{NOBODY}:rwx" in sides.both(lambda root, name=name: getfacl(root / name))  # type: ignore[misc]
    assert "default:user" in sides.both(lambda root: getfacl(root / "directory"))


def test_setting_an_acl_drops_a_setgid_bit_that_is_not_ones_own(sides: Sides) -> None:
    def set_up(root: Path) -> None:
        (root / "f").touch()
        os.chown(root / "f", NOBODY, GROUP)
        os.chmod(root / "f", 0o2755)

    def act(root: Path, user: int) -> int:
        subprocess.run(["setfacl", "-m", f"u:{user}:rx", root / "f"], check=True)
        return stat.S_IMODE(os.stat(root / "f").st_mode)

    sides.both(set_up)
    assert sides.as_caller(lambda root: act(root, 1), groups=[GROUP]) == 0o2755
    assert sides.as_caller(lambda root: act(root, 2)) == 0o755


def test_only_the_mounts_owner_and_root_set_the_policy(sides: Sides) -> None:
    root = sides.mounted.path
    assert as_caller(root, lambda here: os.setxattr(here, "user.fusecopy.policy", b"strict")) == "EACCES"
    os.chmod(root, 0o777)
    assert as_caller(root, lambda here: os.setxattr(here, "user.fusecopy.policy", b"strict")) == "EPERM"
    assert (
        as_caller(root, lambda here: os.getxattr(here, "user.fusecopy.pid"))
        == str(sides.mounted.process.pid).encode()
    )
