"""Names: made, linked, renamed, removed, and what they lead to while the file is open or known."""

import ctypes
import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mount.sides import Sides, opened, outcome
from tests.mounted import Mounted, mounted

libc = ctypes.CDLL(None, use_errno=True)
NOREPLACE, EXCHANGE = 1, 2

KINDS = ("file", "directory", "symlink", "fifo", "socket", "device")


def make(path: Path, kind: str) -> None:
    """An entry of a kind."""
    if kind == "file":
        path.write_bytes(b"content of " + path.name.encode())
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(f"to-{path.name}")
    else:
        types = {"fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "device": stat.S_IFCHR}
        os.mknod(path, types[kind] | 0o640, os.makedev(1, 3) if kind == "device" else 0)


def rename(old: Path, new: Path, flags: int) -> None:
    """renameat2(2)."""
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def described(path: Path) -> tuple[int, int, int, int]:
    """What tells one entry from another."""
    st = path.lstat()
    return st.st_mode, st.st_nlink, st.st_size if not stat.S_ISDIR(st.st_mode) else 0, st.st_rdev


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_entry_is_made_renamed_and_removed(sides: Sides, kind: str) -> None:
    def act(root: Path) -> tuple[object, ...]:
        (root / "d").mkdir()
        make(root / "a", kind)
        made = described(root / "a")
        os.rename(root / "a", root / "d" / "b")
        moved = described(root / "d" / "b")
        (os.rmdir if kind == "directory" else os.unlink)(root / "d" / "b")
        return made, moved, os.listdir(root), os.listdir(root / "d")

    made, moved, top, below = sides.both(act)
    assert made == moved
    assert (top, below) == (["d"], [])


@pytest.mark.parametrize("new", KINDS)
@pytest.mark.parametrize("old", KINDS)
@pytest.mark.parametrize("flags", [0, NOREPLACE, EXCHANGE])
def test_rename_over_every_kind(btrfs_sides: Sides, old: str, new: str, flags: int) -> None:
    def act(root: Path) -> object:
        make(root / "old", old)
        make(root / "new", new)
        rename(root / "old", root / "new", flags)
        return {name: described(root / name) for name in os.listdir(root)}

    result = btrfs_sides.both(act)
    if flags == NOREPLACE:
        assert result == "EEXIST"
    elif flags == EXCHANGE:
        assert isinstance(result, dict)
        assert sorted(result) == ["new", "old"]


def test_exchange_across_directories_is_believed_at_once(sides: Sides) -> None:
    def act(root: Path) -> tuple[bytes, bytes]:
        for name in ("x", "y"):
            (root / name).mkdir()
            (root / name / "f").write_bytes(name.encode())
        rename(root / "x" / "f", root / "y" / "f", EXCHANGE)
        rename(root / "x", root / "y", EXCHANGE)
        return (root / "x" / "f").read_bytes(), (root / "y" / "f").read_bytes()

    assert sides.both(act) == (b"x", b"y")


def test_a_directory_does_not_move_into_itself(btrfs_sides: Sides) -> None:
    def act(root: Path) -> None:
        (root / "x" / "y").mkdir(parents=True)
        os.rename(root / "x", root / "x" / "y" / "z")

    assert btrfs_sides.both(act) == "EINVAL"


def test_hard_links_are_one_file(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        (root / "a").write_bytes(b"1")
        os.link(root / "a", root / "b")
        one, other = (root / "a").stat(), (root / "b").stat()
        (root / "b").write_bytes(b"22")
        os.unlink(root / "a")
        return (
            one.st_ino == other.st_ino,
            one.st_nlink,
            (root / "b").stat().st_nlink,
            (root / "b").read_bytes(),
        )

    assert sides.both(act) == (True, 2, 1, b"22")


def test_a_symlink_has_hard_links_of_its_own(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        (root / "a").symlink_to("nowhere")
        os.link(root / "a", root / "b", follow_symlinks=False)
        return os.readlink(root / "b"), (root / "b").lstat().st_nlink

    assert sides.both(act) == ("nowhere", 2)


@pytest.mark.parametrize("name", [b"n" * 255, b"\xff\xfe\xfd", b"new\nline", b" ", b"\\", "é\u0301".encode()])
def test_names_are_bytes(sides: Sides, name: bytes) -> None:
    def act(root: Path) -> list[bytes]:
        path = os.path.join(os.fsencode(root), name)
        Path(os.fsdecode(path)).write_bytes(b"")
        os.stat(path)
        return os.listdir(os.fsencode(root))

    assert sides.both(act) == [name]


@pytest.mark.parametrize("length", [256, 1023, 1025, 4096])
def test_names_too_long(sides: Sides, length: int) -> None:
    assert sides.both(lambda root: (root / ("n" * length)).touch()) == "ENAMETOOLONG"


def test_an_unlinked_file_lives_while_it_is_open(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f", os.O_RDWR | os.O_CREAT) as fd:
            os.unlink(root / "f")
            os.pwrite(fd, b"data", 10)
            os.ftruncate(fd, 12)
            os.fchmod(fd, 0o600)
            st = os.fstat(fd)
            return st.st_nlink, st.st_size, stat.S_IMODE(st.st_mode), os.pread(fd, 20, 8), os.listdir(root)

    assert sides.both(act) == (0, 12, 0o600, b"\0\0da", [])


def test_a_removed_working_directory(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        (root / "d").mkdir()
        with opened(root / "d", os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.rmdir(root / "d")
            made: object = None
            try:
                os.mkdir("e", dir_fd=fd)
            except OSError as error:
                made = error.errno
            return os.fstat(fd).st_nlink, os.listdir(fd), made

    assert sides.both(act) == (0, [], errno.ENOENT)


def test_a_replaced_file_that_is_open_stays_itself(sides: Sides) -> None:
    def act(root: Path) -> tuple[object, ...]:
        (root / "f").write_bytes(b"old")
        (root / "g").write_bytes(b"new!")
        with opened(root / "f") as fd:
            os.rename(root / "g", root / "f")
            return os.pread(fd, 9, 0), os.fstat(fd).st_nlink, (root / "f").read_bytes()

    assert sides.both(act) == (b"old", 0, b"new!")


def test_symlinks_are_followed_by_the_client_alone(btrfs_sides: Sides) -> None:
    """One that points to the server's own descriptors, or out by dots, means what it means to the client."""
    root = btrfs_sides.mount
    (root / "out").symlink_to("/proc/self/stat")
    assert (root / "out").read_bytes().split()[0] == str(os.getpid()).encode()
    (root / "up").symlink_to("../" * 50 + "etc/hostname")
    assert (root / "up").read_bytes() == Path("/etc/hostname").read_bytes()
    assert os.path.samefile(root / "..", root.parent)


@pytest.mark.parametrize("words", [["--coherent"], ["-o", "timeout=1"]])
def test_what_others_change_on_the_backing_is_found_anew(
    btrfs: Path, tmp_path: Path, words: list[str]
) -> None:
    """At once, or after the timeout, which here is waited for by asking again and again."""
    require("fuse")
    backing = btrfs / tmp_path.name
    backing.mkdir()
    with mounted(backing, *words) as mount:
        path = mount.path / "f"
        path.write_bytes(b"one")
        assert not (mount.path / "new").exists()
        (backing / "g").write_bytes(b"three")
        os.rename(backing / "g", backing / "f")
        (backing / "new").touch()
        for _ in range(1_000_000 if "-o" in words else 1):
            if path.stat().st_size == 5 and (mount.path / "new").exists():
                break
        assert path.read_bytes() == b"three"
        assert path.stat().st_ino == (backing / "f").stat().st_ino
        assert sorted(os.listdir(mount.path)) == ["f", "new"]


def test_cached_pages_are_kept_if_asked_for(btrfs: Path, tmp_path: Path) -> None:
    """And are right after writes, truncations, copies and clones through the mount."""
    require("fuse")
    backing = btrfs / tmp_path.name
    backing.mkdir()
    with mounted(backing, "-o", "kernel_cache") as mount:
        a, b = mount.path / "a", mount.path / "b"
        a.write_bytes(b"a" * 8192)
        b.write_bytes(b"b" * 8192)
        reads: list[int] = []
        for _ in range(3):
            assert (a.read_bytes(), b.read_bytes()) == (b"a" * 8192, b"b" * 8192)
            reads.append(json.loads(mount.attribute("stats"))["requests"].get("15", 0))
        assert reads[0] == reads[2]
        with opened(a) as source, opened(b, os.O_WRONLY) as destination:
            assert os.copy_file_range(source, destination, 4096) == 4096
        assert b.read_bytes() == b"a" * 4096 + b"b" * 4096
        os.truncate(b, 5000)
        assert b.read_bytes() == b"a" * 4096 + b"b" * 904
        with b.open("ab") as file:
            file.write(b"end")
        assert b.read_bytes() == (backing / "b").read_bytes() == b"a" * 4096 + b"b" * 904 + b"end"


def test_an_exclusive_mount_asks_once(btrfs: Path, tmp_path: Path) -> None:
    """Nobody else changes the backing: what was looked up, listed or found missing is not asked again."""
    require("fuse")
    backing = btrfs / tmp_path.name
    backing.mkdir()
    with mounted(backing, "--exclusive") as mount:
        (mount.path / "f").write_bytes(b"x")
        asked: list[dict[str, int]] = []
        for _ in range(3):
            assert (mount.path / "f").stat().st_size == 1
            assert not (mount.path / "missing").exists()
            assert os.listdir(mount.path) == ["f"]
            asked.append(json.loads(mount.attribute("stats"))["requests"])
        for opcode in ("1", "3", "28", "44"):  # LOOKUP, GETATTR, READDIR, READDIRPLUS
            assert asked[1].get(opcode, 0) == asked[2].get(opcode, 0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "device"])
@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_EXCL])
def test_what_appeared_behind_the_mount_is_not_created(btrfs_names: Mounted, kind: str, flags: int) -> None:
    """The kernel believes that the name is missing, and asks for a file to be created: what is there by now
    is opened as the kernel opens it natively. A server that opened a fifo to write would wait, and with it
    whoever wants anything of the directory."""

    def act(root: Path, behind: Path) -> object:
        path = root / f"{kind}-{flags:x}"
        assert not path.exists()
        make(behind / path.name, kind)
        with opened(path, flags | os.O_CREAT) as fd:
            st = os.fstat(fd)
            return stat.S_IFMT(st.st_mode), st.st_size

    native = btrfs_names.backing.parent / f"{btrfs_names.backing.name}-beside"
    native.mkdir(exist_ok=True)
    expected = outcome(lambda: act(native, native))
    assert outcome(lambda: act(btrfs_names.path, btrfs_names.backing)) == expected


@pytest.fixture(scope="module")
def btrfs_names(btrfs: Path) -> Iterator[Mounted]:
    """A mount whose names are believed until they are changed in it."""
    require("fuse")
    backing = btrfs / "believed"
    backing.mkdir()
    with mounted(backing, "--exclusive") as mount:
        yield mount
