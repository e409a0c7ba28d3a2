"""Two clients of one tree, one in the mount and one in the backing, who take turns; and what each sees."""

import errno
import mmap
import os
import random
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

NAMES = "abcdef"
DEPTH = 2
HELD = 4
"""Files that are kept open on both sides."""

EXPECTED = frozenset(
    {
        errno.ENOENT,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENOTEMPTY,
        errno.EINVAL,
        errno.EXDEV,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.ELOOP,
    }
)
"""What a random operation may be answered: the tree is what it is."""


class Seen(NamedTuple):
    """What is to be seen of one name."""

    mode: int
    links: int
    owner: tuple[int, int]
    size: int
    mtime_ns: int
    content: bytes
    attributes: tuple[tuple[str, bytes], ...]


def seen(path: Path) -> Seen:
    """What `path` shows of itself. The size of a directory is the filesystem's own affair."""
    st = path.lstat()
    kind = stat.S_IFMT(st.st_mode)
    content, attributes = b"", []
    if kind == stat.S_IFREG:
        content = path.read_bytes()
    if kind == stat.S_IFLNK:
        content = os.fsencode(os.readlink(path))
    else:
        attributes = [(name, os.getxattr(path, name)) for name in sorted(os.listxattr(path))]
    size = 0 if kind == stat.S_IFDIR else st.st_size
    links = 0 if kind == stat.S_IFDIR else st.st_nlink
    owner = st.st_uid, st.st_gid
    return Seen(st.st_mode, links, owner, size, st.st_mtime_ns, content, tuple(attributes))


def tree(root: Path) -> dict[str, Seen]:
    """Everything below `root`, by path."""
    found: dict[str, Seen] = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory) / name
            found[str(path.relative_to(root))] = seen(path)
    return found


class Turns:
    """Random operations, by a seed, in one or the other of two directories that are the same.

    Args:
        mount: the directory in the mount.
        backing: the same behind it.
    """

    def __init__(self, mount: Path, backing: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self._mount = mount
        self._backing = backing
        self._held: list[tuple[int, int]] = []
        self._operations: list[Callable[[Path], None]] = [
            self._create,
            self._create,
            self._replace,
            self._append,
            self._overwrite,
            self._truncate,
            self._rename,
            self._link,
            self._symlink,
            self._unlink,
            self._mkdir,
            self._rmdir,
            self._chmod,
            self._setxattr,
            self._copy,
            self._map,
            self._touch,
        ]

    def turn(self, in_mount: bool, expected: frozenset[int] = EXPECTED) -> str:
        """One operation; says which. It may be answered what is `expected`."""
        operation = self.random.choice(self._operations)
        try:
            operation(self._mount if in_mount else self._backing)
        except OSError as error:
            if error.errno not in expected:
                raise
        return f"{'mount' if in_mount else 'backing'}: {operation.__name__}"

    def hold(self) -> None:
        """Open a file on both sides, or close one pair."""
        if len(self._held) < HELD and (files := sorted(self.files())):
            name = self.random.choice(files)
            backing = os.open(self._backing / name, os.O_RDONLY)
            self._held.append((os.open(self._mount / name, os.O_RDONLY), backing))
        elif self._held:
            for fd in self._held.pop(self.random.randrange(len(self._held))):
                os.close(fd)

    def check_held(self) -> None:
        """What is open shows the same on both sides, whatever became of its name."""
        for pair in self._held:
            sizes = [os.fstat(fd).st_size for fd in pair]
            links = [os.fstat(fd).st_nlink for fd in pair]
            contents = [os.pread(fd, 1 << 20, 0) for fd in pair]
            assert (sizes[0], links[0], contents[0]) == (sizes[1], links[1], contents[1])

    def close(self) -> None:
        """Close what is open."""
        while self._held:
            for fd in self._held.pop():
                os.close(fd)

    def opened(self, names: set[str]) -> Iterator[tuple[str, bytes, bytes]]:
        """Name and content, in the mount and behind it, of those of the files, each opened just now."""
        for name in names & self.files():
            yield name, (self._mount / name).read_bytes(), (self._backing / name).read_bytes()

    def files(self) -> set[str]:
        """The regular files, by path."""
        return {name for name, file in tree(self._backing).items() if stat.S_ISREG(file.mode)}

    # ---- operations ----------------------------------------------------------------------------------

    def _path(self, root: Path) -> Path:
        depth = self.random.randint(1, DEPTH + 1)
        return root.joinpath(*self.random.choices(NAMES, k=depth))

    def _bytes(self) -> bytes:
        return self.random.randbytes(self.random.choice([1, 10, 4096, 5000, 20000]))

    def _create(self, root: Path) -> None:
        self._path(root).write_bytes(self._bytes())

    def _replace(self, root: Path) -> None:
        new = root / "new"
        new.write_bytes(self._bytes())
        try:
            new.rename(self._path(root))
        finally:
            new.unlink(missing_ok=True)

    def _append(self, root: Path) -> None:
        with self._path(root).open("ab") as file:
            file.write(self._bytes())

    def _overwrite(self, root: Path) -> None:
        with self._path(root).open("r+b") as file:
            file.seek(self.random.randrange(8192))
            file.write(self._bytes())

    def _truncate(self, root: Path) -> None:
        os.truncate(self._path(root), self.random.randrange(10000))

    def _rename(self, root: Path) -> None:
        self._path(root).rename(self._path(root))

    def _link(self, root: Path) -> None:
        os.link(self._path(root), self._path(root), follow_symlinks=False)

    def _symlink(self, root: Path) -> None:
        self._path(root).symlink_to(self.random.choice(NAMES))

    def _unlink(self, root: Path) -> None:
        self._path(root).unlink()

    def _mkdir(self, root: Path) -> None:
        self._path(root).mkdir()

    def _rmdir(self, root: Path) -> None:
        self._path(root).rmdir()

    def _chmod(self, root: Path) -> None:
        path = self._path(root)
        if not path.is_symlink():
            path.chmod(0o700 | self.random.randrange(0o100))

    def _setxattr(self, root: Path) -> None:
        os.setxattr(self._path(root), "user.x", self.random.randbytes(4), follow_symlinks=False)

    def _copy(self, root: Path) -> None:
        """A clone where the filesystem has them."""
        with self._path(root).open("rb") as source, self._path(root).open("wb") as destination:
            while os.copy_file_range(source.fileno(), destination.fileno(), 1 << 20):
                pass

    def _map(self, root: Path) -> None:
        """Write by a mapping, which is seen when the file is closed."""
        no_pages = suppress(ValueError)  # of an empty file
        with self._path(root).open("r+b") as file, no_pages, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[self.random.randrange(len(mapped))] = self.random.randrange(256)
            mapped.flush()

    def _touch(self, root: Path) -> None:
        ns = self.random.randrange(1 << 60)
        os.utime(self._path(root), ns=(ns, ns), follow_symlinks=False)


# ---- a run, as a program of its own --------------------------------------------------------------------


def in_turn(mount: Path, backing: Path, seed: int, count: int) -> None:
    """Take turns, and after each compare what the two sides see.

    What is opened shows what was finished before the open; names and attributes, what the kernel was told,
    for which the mount's attribute `coherence` waits.
    """
    turns = Turns(mount, backing, seed)
    done: list[str] = []
    try:
        for _ in range(count):
            # The kernel may believe a while that a name is not there, or is a symbolic link.
            before = turns.files()
            done.append(turns.turn(in_mount=turns.random.random() < 0.4))
            for name, here, there in turns.opened(before):
                assert here == there, f"{name} opened after {done[-5:]}: {here[:40]!r}, not {there[:40]!r}"
            assert os.getxattr(mount, "user.fusecopy.coherence") == b"watched"
            turns.check_held()
            expected, found = tree(backing), tree(mount)
            wrong = {
                n: (found.get(n), expected.get(n))
                for n in {*expected, *found}
                if found.get(n) != expected.get(n)
            }
            assert not wrong, f"after {done[-5:]}, {len(done)}: {str(wrong)[:800]}"
            if turns.random.random() < 0.1:
                turns.hold()
    finally:
        turns.close()


def at_once(mount: Path, backing: Path, seed: int, count: int) -> None:
    """Work on both sides at the same time; after both are done they see the same."""
    sides = [(Turns(mount, backing, seed + n), n == 0) for n in range(2)]

    def work(turns: Turns, in_mount: bool) -> None:
        for _ in range(count):
            # The kernel gives up a path that changes while it looks it up the second time, too.
            turns.turn(in_mount, EXPECTED | {errno.ESTALE})

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(work, *side) for side in sides]:
            future.result()
    for path in (mount / "new", backing / "new"):
        path.unlink(missing_ok=True)
    assert os.getxattr(mount, "user.fusecopy.coherence") == b"watched"
    assert tree(mount) == tree(backing)


if __name__ == "__main__":
    run = {"in_turn": in_turn, "at_once": at_once}[sys.argv[1]]
    run(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
