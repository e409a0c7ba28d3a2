"""fusecopy clone in the middle: a signal, the end of the mount, a full disk, a tree that changes."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusecopy.dispatch.reader import read
from fusecopy.dispatch.records import Copy
from fusecopy.dispatch.writer import QUEUE_LIMIT
from tests import loopfs
from tests.cli.commands import run
from tests.mount.sides import Sides
from tests.mount.trees import described, many, told, write
from tests.mounted import FUSECOPY, mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]


@contextmanager
def under_way(sides: Sides) -> Iterator["subprocess.Popen[str]"]:
    """A clone of many files in its middle."""
    many(sides.behind / "src")
    command = [FUSECOPY, "clone", "-r", str(sides.mount / "src"), str(sides.mount / "dst")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while not any(
            any(name.iterdir()) for name in sides.behind.glob(".fusecopy-clone-*") if name.is_dir()
        ):
            assert process.poll() is None, "it ended before anything was seen of it"
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_nothing(btrfs_sides: Sides, number: signal.Signals) -> None:
    with under_way(btrfs_sides) as process:
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode != 0
    tree, copies = told(btrfs_sides.mounted, btrfs_sides.mount / "dst")
    assert (tree.errno, copies) == ("EINTR", [])
    assert os.listdir(btrfs_sides.behind) == ["src"]


def test_the_end_of_the_mount_leaves_nothing(btrfs: Path) -> None:
    backing = btrfs / "ending"
    backing.mkdir()
    with mounted(backing) as mount:
        with under_way(Sides(mount, mount.path, backing, backing)) as process:
            assert run("umount", "--lazy", mount.path).returncode == 0
            process.communicate(timeout=60)
        mount.process.wait(60)
    assert set(os.listdir(backing)) - {"dst"} == {"src"}


def test_no_space_leaves_nothing(tmp_path: Path) -> None:
    with loopfs.mounted("ext4", tmp_path, size=64 << 20) as filesystem:
        backing = filesystem / "backing"
        (backing / "src").mkdir(parents=True)
        for number in range(40):
            (backing / f"src/f{number}").write_bytes(os.urandom(1 << 20))
        with mounted(backing) as mount:
            done = run("clone", "-r", mount.path / "src", mount.path / "dst")
            assert done.returncode == 1
            assert "ENOSPC: The filesystem ext4 is full" in done.stderr
            assert os.listdir(backing) == ["src"]
            tree, copies = told(mount, mount.path / "dst")
            assert (tree.errno, copies) == ("ENOSPC", [])


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do something over and over while the context lasts."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            act()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_what_changes_meanwhile_leads_nowhere_else(btrfs_sides: Sides) -> None:
    """A file and a directory become symbolic links out of the backing and back, others come and go."""
    source, outside = btrfs_sides.behind / "src", btrfs_sides.native / "outside"
    (outside / "d").mkdir(parents=True)
    write(outside / "file", b"outside")
    write(outside / "d/file", b"outside")
    (source / "d").mkdir(parents=True)
    write(source / "file", b"inside")
    write(source / "d/file", b"inside")
    for number in range(50):
        write(source / f"f{number}", b"inside")
    for name in ("file", "d"):
        os.symlink(outside / name, source / f"{name}.link")

    def swap() -> None:
        for name in ("file", "d"):
            for old, new in ((name, "away"), (f"{name}.link", name), ("away", f"{name}.link")):
                os.rename(source / old, source / new)
        (source / "gone").write_bytes(b"inside")
        (source / "gone").unlink()

    with meanwhile(swap):
        for number in range(15):
            done = run("clone", "-qr", btrfs_sides.mount / "src", btrfs_sides.mount / f"dst{number}")
            assert (done.returncode, done.stderr) == (0, "")
    for number in range(15):
        for path, entry in described(btrfs_sides.behind / f"dst{number}").items():
            inside = entry.mode >> 12 != 0o10 or (
                btrfs_sides.behind / f"dst{number}" / path
            ).read_bytes() in (b"inside", b"")
            assert inside, path


def test_progress_is_told(btrfs_sides: Sides) -> None:
    many(btrfs_sides.behind / "src", 20_000)  # they take longer than it waits for before it tells
    done = run("clone", "-r", "--progress", btrfs_sides.mount / "src", btrfs_sides.mount / "dst")
    assert done.returncode == 0
    assert " entries, " in done.stderr


def test_what_the_log_has_no_room_for_waits(btrfs: Path, tmp_path: Path) -> None:
    """More files than may wait and be in the writer's hands; the log's directory is away for a moment."""
    backing, logs, number = btrfs / "more", tmp_path / "logs", 10_007
    assert number > 2 * QUEUE_LIMIT
    backing.mkdir()
    logs.mkdir()
    with mounted(backing, "--log", str(logs / "log"), expected="dispatch log") as mount:
        many(backing / "src", number)
        logs.rename(tmp_path / "away")
        command = [FUSECOPY, "clone", "-qr", str(mount.path / "src"), str(mount.path / "dst")]
        with subprocess.Popen(command) as process:
            mount.await_words("cannot be written")
            (tmp_path / "away").rename(logs)
            assert process.wait(60) == 0
    found = [record.dst for record in read(logs / "log") if isinstance(record, Copy)]
    assert sorted(found) == sorted(f"dst/f{at}" for at in range(number))
