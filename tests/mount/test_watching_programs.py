"""Programs that people use, one side in the mount and the other in the backing."""

import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mount.turns import tree
from tests.mounted import Mounted, mounted

GIT = ("git", "-c", "user.name=n", "-c", "user.email=e@example.org")


@pytest.fixture(scope="module")
def watched(xfs: Path) -> Iterator[Mounted]:
    """A mount with no options."""
    require("fuse")
    backing = xfs / "programs"
    backing.mkdir()
    with mounted(backing) as mount:
        yield mount


@pytest.fixture(params=["mount first", "backing first"])
def sides(watched: Mounted, request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """One directory on both sides, where the first is to begin."""
    name = tmp_path.name
    (watched.backing / name).mkdir()
    both = watched.path / name, watched.backing / name
    return both if request.param == "mount first" else both[::-1]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_git(sides: tuple[Path, Path], watched: Mounted) -> None:
    """Each side commits, switches and resets what the other just did."""
    run("git", "init", "-q", "-b", "main", cwd=sides[0])
    for n, side in enumerate(sides * 4):
        (side / "f").write_text(f"{n}\n" * (n + 1))
        (side / f"g{n}").write_text("g")
        assert f"?? g{n}\n" in run(*GIT, "status", "--porcelain", cwd=sides[n % 2 - 1])
        run(*GIT, "add", "-A", cwd=side)
        run(*GIT, "commit", "-q", "-m", f"{n}", cwd=side)
        assert run(*GIT, "status", "--porcelain", cwd=sides[n % 2 - 1]) == ""
    run(*GIT, "checkout", "-q", "-b", "old", "HEAD~3", cwd=sides[0])
    assert (sides[1] / "f").read_text() == "4\n" * 5
    run(*GIT, "checkout", "-q", "main", cwd=sides[1])
    assert (sides[0] / "f").read_text() == "7\n" * 8
    run(*GIT, "fsck", "--strict", cwd=sides[0])
    assert watched.attribute("coherence") == "watched"
    assert tree(sides[0]) == tree(sides[1])


def test_rsync(sides: tuple[Path, Path], watched: Mounted, tmp_path: Path) -> None:
    """What rsync brings to one side is there on the other, and nothing is left to bring."""
    for n in range(20):
        (tmp_path / f"d{n % 3}").mkdir(exist_ok=True)
        (tmp_path / f"d{n % 3}/f{n}").write_bytes(bytes([n]) * 1000 * n)
    for n, side in enumerate(sides * 3):
        (tmp_path / f"d{n % 3}/f{n}").write_text(f"{n}")
        (tmp_path / f"d0/new{n}").touch()
        run("rsync", "-a", "--delete", f"{tmp_path}/", f"{side}/", cwd=tmp_path)
        assert watched.attribute("coherence") == "watched"
        other = sides[n % 2 - 1]
        assert run("rsync", "-anci", "--delete", f"{tmp_path}/", f"{other}/", cwd=tmp_path) == ""


def test_an_editor_that_writes_a_new_file_and_renames(sides: tuple[Path, Path]) -> None:
    """What was saved on one side before it is opened on the other is what is opened."""
    for n in range(200):
        side, other = sides[n % 2], sides[n % 2 - 1]
        (side / ".f.new").write_text(f"version {n}\n" * (n % 7 + 1))
        (side / ".f.new").rename(side / "f")
        assert (other / "f").read_text() == f"version {n}\n" * (n % 7 + 1)


@pytest.mark.parametrize("journal", ["delete", "persist", "truncate"])
def test_sqlite(sides: tuple[Path, Path], journal: str) -> None:
    """Both sides write one database; who reads sees all that was committed. (Locks do not pass from one to
    the other side, nor does shared memory: not at once, and not in WAL mode.)"""
    for n, side in enumerate(sides * 10):
        with sqlite3.connect(side / "db") as database:
            database.execute(f"PRAGMA journal_mode={journal}")
            database.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER, text TEXT)")
            assert database.execute("SELECT count(*), max(n) FROM t").fetchone() == (n, n - 1 if n else None)
            database.execute("INSERT INTO t VALUES (?, ?)", (n, "x" * 3000))
        database.close()
    with sqlite3.connect(sides[0] / "db") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_tail(sides: tuple[Path, Path]) -> None:
    """tail -f says what the other side appends, and follows a file that is replaced by name."""
    reader, writer = sides
    (writer / "log").write_text("first\n")
    tail = subprocess.Popen(
        ["tail", "-F", "-s", "0.05", "---disable-inotify", reader / "log"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert tail.stdout is not None
        assert tail.stdout.readline() == "first\n"
        for n in range(20):
            with (writer / "log").open("a") as log:
                log.write(f"line {n}\n")
            assert tail.stdout.readline() == f"line {n}\n"
        (writer / "log").rename(writer / "log.1")
        (writer / "log").write_text("rotated\n")
        assert tail.stdout.readline() == "rotated\n"
    finally:
        tail.kill()
        tail.communicate()
