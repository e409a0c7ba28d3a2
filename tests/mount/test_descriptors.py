"""The inode table: counts come back to nothing, descriptors stay few, and no name leads to a wrong file."""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mount.ordinary import nobodys_mount
from tests.mount.sides import NOBODY, as_caller, opened
from tests.mounted import Mounted, mounted
from tests.mounted import descriptors as descriptors_of_server

OUT_OF_DESCRIPTORS = Path(__file__).parents[1] / "faulty" / "out_of_descriptors.py"

FEW = ("prlimit", "--nofile=300", "--")


def inodes(mount: Mounted) -> int:
    """How many inodes the server says the kernel knows."""
    return int(json.loads(mount.attribute("stats"))["inodes"])


def descriptors(mount: Mounted) -> int:
    """How many descriptors the server has; it may be runuser's child."""
    return descriptors_of_server(int(mount.attribute("pid")))


def drop_caches() -> None:
    """Let the kernel forget every name that nobody uses."""
    Path("/proc/sys/vm/drop_caches").write_text("2")


def forgotten(mount: Mounted) -> bool:
    """Whether all inodes are forgotten within a bounded number of attempts, each of which drops caches."""
    for _ in range(200):
        drop_caches()
        if inodes(mount) == 0:
            return True
    return False


def closed(mount: Mounted, before: int) -> bool:
    """Whether the server comes back to so many descriptors: what was released is closed after the answer."""
    deadline = time.monotonic() + 20
    while (now := descriptors(mount)) != before and time.monotonic() < deadline:
        pass
    return now == before


def plant(root: Path, directories: int, files: int) -> None:
    """A tree of directories with files that contain their own names."""
    for d in range(directories):
        (root / f"d{d}").mkdir()
        for f in range(files):
            (root / f"d{d}" / f"f{f}").write_text(f"d{d}/f{f}")


def walk(root: Path) -> dict[str, str]:
    """What every file of the tree contains."""
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(params=["root", "nobody"])
def few(request: pytest.FixtureRequest, btrfs: Path) -> Iterator[Mounted]:
    """A mount whose server may have 300 descriptors: root's reopens by handle, nobody's by name."""
    require("fuse", "root", "loop")
    if request.param == "nobody":
        with nobodys_mount(btrfs, prefix=FEW) as mount:
            yield mount
    else:
        backing = btrfs / "few"
        backing.mkdir()
        with mounted(backing, prefix=FEW) as mount:
            yield mount
        shutil.rmtree(backing)


def as_owner(mount: Mounted, act: object) -> object:
    """Do something in the mount as whoever owns it, who alone may enter it."""
    owner = os.stat(mount.backing).st_uid
    assert callable(act)
    return as_caller(mount.backing, lambda _: act(mount.path), owner, NOBODY if owner else 0)


def test_everything_is_forgotten(btrfs: Path) -> None:
    backing = btrfs / "forget"
    backing.mkdir()
    with mounted(backing) as mount:
        before = descriptors(mount)
        plant(mount.path, 5, 100)
        assert len(walk(mount.path)) == 500
        os.link(mount.path / "d0" / "f0", mount.path / "link")
        os.rename(mount.path / "d1", mount.path / "moved")
        assert inodes(mount) >= 500
        shutil.rmtree(mount.path / "moved")
        subprocess.run(["find", mount.path, "-size", "+1M"], check=True, capture_output=True)
        assert forgotten(mount)
        assert closed(mount, before)
        subprocess.run(["rm", "-rf", *mount.path.iterdir()], check=True)
        assert forgotten(mount)
        assert closed(mount, before)
        assert os.listdir(backing) == []


@pytest.mark.parametrize(("limit", "room"), [(1000, 1000), (16000, 16000), (19000, 16384)])
def test_there_is_room_for_descriptors_from_the_beginning(btrfs: Path, limit: int, room: int) -> None:
    """Else the server would stand still whenever the kernel doubles its table."""
    backing = btrfs / "room"
    backing.mkdir()
    with mounted(backing, prefix=("prlimit", f"--nofile={limit}", "--")) as mount:
        status = Path(f"/proc/{mount.process.pid}/status").read_text()
        assert int(status.split("FDSize:")[1].split()[0]) >= room
    backing.rmdir()


def test_a_large_tree_with_few_descriptors(few: Mounted) -> None:
    def act(root: Path) -> tuple[object, ...]:
        plant(root, 4, 100)
        shutil.copytree(root, root / "copy", ignore=lambda *_: ["copy"])
        for d in range(4):
            os.rename(root / f"d{d}", root / "copy" / f"e{d}")
        tree = walk(root)
        right = sum(
            name.endswith(text) or name.replace("e", "d").endswith(text) for name, text in tree.items()
        )
        shutil.rmtree(root / "copy")
        return len(tree), right, os.listdir(root)

    assert as_owner(few, act) == (800, 800, [])
    assert descriptors_of(few) < 300


def descriptors_of(mount: Mounted) -> int:
    """Like `descriptors`, asked as the mount's owner."""
    pid = as_owner(mount, lambda root: os.getxattr(root, "user.fusecopy.pid").decode())
    return len(os.listdir(f"/proc/{pid}/fd"))


def attributes(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Number, size and links of each entry of a directory, taken while it is listed."""
    with os.scandir(directory) as entries:
        return {entry.name: listed(entry) for entry in entries}


def listed(entry: "os.DirEntry[str]") -> tuple[int, int, int]:
    """Number, size and links; the number as the listing had it too."""
    st = entry.stat(follow_symlinks=False)
    assert entry.inode() == st.st_ino
    return st.st_ino, st.st_size, st.st_nlink


def test_a_directory_of_more_entries_than_descriptors(few: Mounted) -> None:
    for n in range(1000):
        (few.backing / f"f{n}").write_bytes(bytes(n))
    native = {entry.name: listed(entry) for entry in os.scandir(few.backing)}

    def act(root: Path) -> tuple[object, ...]:
        with opened(root / "f7", os.O_RDONLY) as fd:
            first = attributes(root)
            return first, attributes(root), os.fstat(fd).st_size, len((root / "f999").read_bytes())

    assert as_owner(few, act) == (native, native, 7, 999)
    assert descriptors_of(few) < 300


def test_what_is_listed_again_after_it_was_evicted(few: Mounted) -> None:
    """The kernel knows the files by descriptors of a program while the server has closed its own."""
    (few.backing / "d0").mkdir()
    (few.backing / "d0").chmod(0o777)
    for n in range(50):
        (few.backing / "d0" / f"f{n}").write_text(f"f{n}")

    def act(root: Path) -> list[object]:
        with ExitStack() as stack:
            fds = [stack.enter_context(opened(root / "d0" / f"f{n}", os.O_PATH)) for n in range(50)]
            (root / "crowd").mkdir()
            plant(root / "crowd", 2, 100)
            (root / "d0" / "new").touch()  # so that the listing is asked for anew
            again = attributes(root / "d0")
            assert again.pop("new")[1:] == (0, 1)
            assert again == {f"f{n}": (os.fstat(fd).st_ino, len(f"f{n}"), 1) for n, fd in enumerate(fds)}
            return [Path(f"/proc/self/fd/{fd}").read_text() for fd in fds]

    assert as_owner(few, act) == [f"f{n}" for n in range(50)]


def test_hard_links_in_one_directory_are_counted_each(btrfs: Path) -> None:
    backing = btrfs / "links"
    backing.mkdir()
    (backing / "f").write_text("one file")
    for n in range(99):
        os.link(backing / "f", backing / f"link{n}")
    with mounted(backing) as mount:
        before = descriptors(mount)
        found = attributes(mount.path)
        assert len(found) == 100
        assert set(found.values()) == {((backing / "f").stat().st_ino, 8, 100)}
        assert inodes(mount) == 1
        assert descriptors(mount) == before + 1
        for n in range(99):
            os.unlink(mount.path / f"link{n}")
        assert attributes(mount.path) == {"f": ((backing / "f").stat().st_ino, 8, 1)}
        assert (mount.path / "f").read_text() == "one file"
        assert forgotten(mount)
        assert closed(mount, before)
    shutil.rmtree(backing)


def test_links_removed_at_once_while_the_file_is_held(few: Mounted) -> None:
    def act(root: Path) -> list[bytes]:
        for side in ("left", "right"):
            (root / side).mkdir()
        with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
            fds = []
            for n in range(40):
                fds.append(stack.enter_context(opened(root / "left" / f"f{n}", os.O_RDWR | os.O_CREAT)))
                os.write(fds[n], b"%d" % n)
                os.link(root / "left" / f"f{n}", root / "right" / f"f{n}")
            for n in range(40):
                list(threads.map(lambda side, n=n: os.unlink(root / side / f"f{n}"), ("left", "right")))
            plant(root, 2, 100)
            assert {os.fstat(fd).st_nlink for fd in fds} == {0}
            for fd in fds:
                os.fchmod(fd, 0o600)  # by the server's own descriptor
            return [os.pread(fd, 9, 0) for fd in fds]

    assert as_owner(few, act) == [b"%d" % n for n in range(40)]


def test_failing_removals_keep_no_descriptors(few: Mounted) -> None:
    def act(root: Path) -> list[str]:
        plant(root, 320, 1)
        for d in range(320):
            try:
                os.rmdir(root / f"d{d}")
            except OSError:
                continue
            raise AssertionError
        return sorted(walk(root))

    names = as_owner(few, act)
    assert isinstance(names, list)
    assert len(names) == 320


def test_what_was_evicted_is_found_again_or_stale(few: Mounted) -> None:
    """Descriptors with O_PATH hold inodes that the server has closed; each leads to its file or to ESTALE."""

    def act(root: Path) -> list[object]:
        plant(root, 1, 60)
        directory = root / "d0"
        with ExitStack() as stack:
            fds = [stack.enter_context(opened(directory / f"f{n}", os.O_PATH)) for n in range(60)]
            plant(root / "d0", 2, 100)  # pushes them out
            for n in range(0, 60, 3):
                os.rename(directory / f"f{n}", directory / f"renamed{n}")
            for n in range(1, 60, 3):
                (root / "new").write_text("another, longer than the one it replaces")
                os.rename(root / "new", directory / f"f{n}")
            found: list[object] = []
            for fd in fds:
                try:
                    found.append(Path(f"/proc/self/fd/{fd}").read_text())
                except OSError as error:
                    found.append(error.errno)
            return found

    found = as_owner(few, act)
    assert found == [f"d0/f{n}" for n in range(60)]


def test_files_replaced_behind_evicted_inodes(few: Mounted) -> None:
    def hold(root: Path) -> list[object]:
        plant(root, 1, 50)
        behind = few.backing / "d0"
        with ExitStack() as stack:
            fds = [stack.enter_context(opened(root / "d0" / f"f{n}", os.O_PATH)) for n in range(50)]
            plant(root / "d0", 2, 100)
            for n in range(50):
                (behind / "new").write_text("wrong")
                os.rename(behind / "new", behind / f"f{n}")
            found: list[object] = []
            for fd in fds:
                try:
                    found.append(Path(f"/proc/self/fd/{fd}").read_text())
                except OSError as error:
                    found.append(error.errno)
            return found

    found = as_owner(few, hold)
    assert isinstance(found, list)
    for n, each in enumerate(found):
        # 116 is ESTALE: the file is gone.
        assert each in (116, f"d0/f{n}")
    assert 116 in found


def test_unlinked_open_files_survive_any_pressure(few: Mounted) -> None:
    def act(root: Path) -> list[bytes]:
        with ExitStack() as stack:
            fds = [stack.enter_context(opened(root / f"f{n}", os.O_RDWR | os.O_CREAT)) for n in range(40)]
            for n, fd in enumerate(fds):
                os.link(root / f"f{n}", root / f"link{n}")
                os.write(fd, b"%d" % n)
                os.unlink(root / f"f{n}")
                if n % 2:
                    os.unlink(root / f"link{n}")
            plant(root, 2, 100)
            for fd in fds:
                os.ftruncate(fd, os.fstat(fd).st_size + 1)
                assert os.fstat(fd).st_nlink == (fds.index(fd) + 1) % 2
            return [os.pread(fd, 9, 0) for fd in fds]

    assert as_owner(few, act) == [b"%d\0" % n for n in range(40)]


def test_very_deep_directories(few: Mounted) -> None:
    """Deeper than Python's stack and than the server has descriptors."""

    def act(root: Path) -> tuple[int, str]:
        os.chdir(root)
        for _ in range(400):
            os.mkdir("d")
            os.chdir("d")
        Path("f").write_text("deep")
        deepest = os.open(".", os.O_PATH)
        os.chdir("/")
        subprocess.run(["find", root, "-name", "nothing"], check=True, capture_output=True)
        os.chdir(deepest)
        text = Path("f").read_text()
        os.chdir("/")
        os.close(deepest)
        subprocess.run(["rm", "-rf", root / "d"], check=True)
        return len(os.listdir(root)), text

    assert as_owner(few, act) == (0, "deep")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_tree_of_100_000_files_with_few_descriptors(btrfs: Path) -> None:
    backing = btrfs / "many"
    backing.mkdir()
    for directory in (backing / f"d{number}" for number in range(100)):
        directory.mkdir()
        for number in range(1000):
            (directory / f"f{number}").touch()
    with mounted(backing, prefix=FEW) as mount:
        found = subprocess.run(
            ["find", mount.path, "-size", "0", "-type", "f"], check=True, capture_output=True
        )
        assert len(found.stdout.splitlines()) == 100_000
        assert descriptors(mount) < 300
        subprocess.run(["rm", "-rf", *mount.path.iterdir()], check=True)
        assert forgotten(mount)
    assert os.listdir(backing) == []


@pytest.mark.parametrize("limit", [64, 100])
def test_with_very_few_descriptors_those_of_inodes_are_given_back(btrfs: Path, limit: int) -> None:
    backing = btrfs / f"few{limit}"
    (backing / "tree").mkdir(parents=True)
    plant(backing / "tree", 60, 3)
    with mounted(backing, prefix=("prlimit", f"--nofile={limit}:{limit}")) as mount:
        tree = walk(mount.path / "tree")
        subprocess.run(["cp", "-r", "tree", "copy"], cwd=mount.path, check=True, timeout=60)
        assert walk(mount.path / "copy") == walk(backing / "copy") == tree
        with ExitStack() as stack:
            # As many as a program may have open with this limit, but for what the server itself needs.
            for number in range(limit - 50):
                stack.enter_context((mount.path / "tree" / f"d{number}" / "f0").open("rb"))
            assert walk(mount.path / "tree") == tree
        subprocess.run(["rm", "-r", "copy"], cwd=mount.path, check=True, timeout=60)
        assert walk(mount.path) == {f"tree/{name}": content for name, content in tree.items()}


ACTS: dict[str, Callable[[Path], object]] = {
    "lookup": lambda d: os.stat(d / "unseen"),
    "chown": lambda d: by_nobody(d, lambda root: os.chown(root / "theirs", -1, -1)),
    "mknod": lambda d: os.mknod(d / "made", stat.S_IFIFO | 0o600),
    "mkdir": lambda d: os.mkdir(d / "made"),
    "symlink": lambda d: os.symlink("x", d / "made"),
    "link": lambda d: os.link(d / "file", d / "made"),
    "create": lambda d: os.close(os.open(d / "made", os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
    "tmpfile": lambda d: os.close(os.open(d, os.O_TMPFILE | os.O_WRONLY)),
    "rename": lambda d: os.rename(d / "file", d / "dir" / "moved"),
    "replace": lambda d: os.rename(d / "file", d / "theirs"),
    "opendir": lambda d: os.listdir(d / "dir"),
    "open": lambda d: (d / "file").read_bytes(),
    "others' mkdir": lambda d: by_nobody(d, lambda root: os.mkdir(root / "open" / "made")),
}
"""What wants a descriptor; each works once in such a directory."""


def prepare(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    for name in ("file", "theirs", "unseen"):
        (directory / name).write_text(name)
    os.chown(directory / "theirs", NOBODY, NOBODY)
    (directory / "theirs").chmod(0o6755)
    (directory / "target").symlink_to("nowhere")
    (directory / "dir").mkdir()
    (directory / "open").mkdir()
    (directory / "open").chmod(0o777)


def by_nobody(directory: Path, act: Callable[[Path], object]) -> None:
    assert as_caller(directory, act) is None


@pytest.mark.fuse
@pytest.mark.root
def test_everything_is_tried_again_when_descriptors_have_run_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    backing, none = tmp_path / "backing", tmp_path / "none"
    backing.mkdir()
    server = (sys.executable, str(OUT_OF_DESCRIPTORS), str(none))
    with mounted(backing, "--no-native-lane", "-o", "allow_other", prefix=server) as mount:
        for name, act in ACTS.items():
            prepare(backing / name)
            for seen in ("file", "theirs", "target", "dir", "open"):
                (mount.path / name / seen).lstat()
            none.touch()
            act(mount.path / name)
            assert not none.exists(), name
