"""What goes wrong on the backing or in the server reaches one caller as its errno, and the mount lives on."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Flow, Record
from tests import loopfs, mounted
from tests.conftest import require
from tests.mount.sides import opened, outcome
from tests.mounted import Mounted

FAULTY_SERVER = """
from fusecopy.filesystem.names import Names

def symlink(self, *arguments):
    raise ZeroDivisionError("a fault put here by a test")

Names.symlink = symlink
from fusecopy.cli import main
main()
"""


def alive(mount: Mounted) -> bool:
    """Whether the mount still answers."""
    return mount.attribute("pid") == str(mount.process.pid)


def released(mount: Mounted) -> bool:
    """Whether the server has closed every file: the kernel tells it after close(2) has returned."""
    return any(json.loads(mount.attribute("stats"))["open_files"] == 0 for _ in range(10_000))


def test_an_unexpected_error_is_its_callers_alone(
    btrfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("fuse")
    script = tmp_path / "fusecopy"
    script.write_text(f"#!{sys.executable}\n{FAULTY_SERVER}")
    script.chmod(0o755)
    monkeypatch.setattr(mounted, "FUSECOPY", str(script))
    backing = btrfs / "faulty"
    backing.mkdir()
    (backing / "f").write_bytes(b"x")
    said = r"ZeroDivision|Traceback|unexpected error in Operations.symlink"
    with mounted.mounted(backing, expected=said) as mount:
        for _ in range(3):
            assert outcome(lambda: os.symlink("f", mount.path / "d")) == "EIO"
            assert (mount.path / "f").read_bytes() == b"x"
        assert alive(mount)
    assert mount.process.returncode == 0


def test_the_backing_directory_is_removed(btrfs: Path) -> None:
    require("fuse")
    backing = btrfs / "removed"
    backing.mkdir()
    (backing / "f").touch()
    with mounted.mounted(backing, "-o", "timeout=0") as mount:
        assert os.listdir(mount.path) == ["f"]
        shutil.rmtree(backing)
        assert outcome(lambda: (mount.path / "f").read_bytes()) == "ENOENT"
        assert outcome(lambda: (mount.path / "g").touch()) == "ENOENT"
        assert outcome(lambda: os.listdir(mount.path)) == []
        assert alive(mount)


def test_the_backing_filesystem_is_detached(tmp_path: Path) -> None:
    """Lazily unmounted, it lives as long as the server holds it: everything goes on."""
    require("fuse", "loop")
    (tmp_path / "again").mkdir()
    with loopfs.mounted("ext4", tmp_path) as filesystem, mounted.mounted(filesystem) as mount:
        (mount.path / "f").write_bytes(b"before")
        loopfs.run("umount", "-l", filesystem)
        (mount.path / "g").write_bytes(b"after")
        assert (mount.path / "f").read_bytes() == b"before"
        assert alive(mount)
        # Put back in place what the fixture takes away, by way of a descriptor that still leads to it.
        loopfs.run("mount", "-t", "tmpfs", "none", filesystem)


def test_the_backing_turns_read_only(tmp_path: Path) -> None:
    require("fuse", "loop")
    with (
        loopfs.mounted("ext4", tmp_path) as filesystem,
        mounted.mounted(filesystem, "-o", "timeout=0") as mount,
    ):
        (mount.path / "f").write_bytes(b"kept")
        assert released(mount)
        loopfs.run("mount", "-o", "remount,ro", filesystem)
        for act in (
            lambda: (mount.path / "f").write_bytes(b""),
            lambda: (mount.path / "new").touch(),
            lambda: os.mkdir(mount.path / "d"),
            lambda: os.unlink(mount.path / "f"),
            lambda: os.chmod(mount.path / "f", 0o600),
            lambda: os.setxattr(mount.path / "f", "user.a", b""),
        ):
            assert outcome(act) == "EROFS"
        assert (mount.path / "f").read_bytes() == b"kept"
        loopfs.run("mount", "-o", "remount,rw", filesystem)
        (mount.path / "f").write_bytes(b"again")
        assert (filesystem / "f").read_bytes() == b"again"


def test_the_backing_is_full(tmp_path: Path) -> None:
    require("fuse", "loop")
    size = 16 * loopfs.MIB
    with loopfs.mounted("ext4", tmp_path, size) as filesystem, mounted.mounted(filesystem) as mount:
        chunk = b"x" * loopfs.MIB
        with opened(mount.path / "f", os.O_RDWR | os.O_CREAT) as fd:
            written = 0
            while (count := outcome(partial(os.pwrite, fd, chunk, written))) != "ENOSPC":
                written += count
                assert written < size
            assert os.fstat(fd).st_size == written
            assert outcome(lambda: os.posix_fallocate(fd, written, size)) == "ENOSPC"
            assert os.pread(fd, written, 0) == b"x" * written
            os.ftruncate(fd, len(chunk))
            os.sync()  # now there is room again
            assert outcome(lambda: os.posix_fallocate(fd, 0, 2 * size)) == "ENOSPC"
            st, native = os.fstat(fd), (filesystem / "f").stat()
            assert native.st_size > len(chunk), "ext4 keeps what it had allocated"
            assert (st.st_size, st.st_blocks) == (native.st_size, native.st_blocks)
            assert os.pread(fd, 2 * size, 0) == chunk + bytes(native.st_size - len(chunk))
        os.unlink(mount.path / "f")
        (mount.path / "g").write_bytes(chunk)
        assert (filesystem / "g").read_bytes() == chunk


def test_a_device_that_fails_is_eio(tmp_path: Path) -> None:
    """The image is cut behind the filesystem's back: what lay there cannot be read any more."""
    require("fuse", "loop")
    image = tmp_path / "xfs.img"
    with loopfs.mounted("xfs", tmp_path) as filesystem, mounted.mounted(filesystem) as mount:
        data = os.urandom(8 * loopfs.MIB)
        (mount.path / "good").write_bytes(b"good")
        (filesystem / "bad").write_bytes(data)
        os.sync()
        offset = _physical(filesystem / "bad")
        Path("/proc/sys/vm/drop_caches").write_text("3")
        loop = subprocess.run(["losetup", "-j", image], check=True, capture_output=True, text=True).stdout
        device = loop.partition(":")[0]
        try:
            os.truncate(image, offset)
            loopfs.run("losetup", "-c", device)
            assert outcome(lambda: (mount.path / "bad").read_bytes()) == "EIO"
            assert (mount.path / "good").read_bytes() == b"good"
            assert alive(mount)
        finally:
            os.truncate(image, loopfs.SIZES["xfs"])
            loopfs.run("losetup", "-c", device)


def _physical(path: Path) -> int:
    """Where a file's first extent lies on the device, as filefrag prints it in bytes."""
    lines = loopfs.run("filefrag", "-b1", "-v", path).splitlines()
    return int(lines[3].split(":")[2].split("..")[0])


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP])
def test_signals_that_ask_do_not_disturb(btrfs: Path, number: signal.Signals) -> None:
    require("fuse")
    backing = btrfs / f"signal{number}"
    backing.mkdir()
    with mounted.mounted(backing, expected=r"fusecopy\.filesystem\.server: \{") as mount:
        mount.process.send_signal(number)
        (mount.path / "f").write_bytes(b"x" * 100_000)
        assert (backing / "f").stat().st_size == 100_000
        assert alive(mount)
    assert mount.process.returncode == 0


def test_files_that_the_backing_has_lost_cost_no_record_and_no_descriptor(btrfs: Path) -> None:
    """The backing is the mount of a server that is killed: its files answer nothing but errors."""
    directory = btrfs / "lost"
    directory.mkdir()
    with mounted.mounted(directory, "--coherent", expected=".*") as lost, ExitStack() as stack:
        mount = stack.enter_context(mounted.mounted(lost.path))
        (mount.path / "read").write_bytes(b"read me")
        assert released(mount)
        before = mounted.descriptors(mount.process.pid)
        with ExitStack() as files:
            reader = files.enter_context(opened(mount.path / "read", os.O_RDONLY))
            assert os.read(reader, 10) == b"read me"
            for number in range(10):
                flags = os.O_WRONLY | os.O_CREAT
                os.write(files.enter_context(opened(mount.path / f"f{number}", flags)), b"written")
            os.stat(mount.path)
            lost.process.kill()
            lost.process.wait(30)
        assert released(mount)
        assert mounted.descriptors(mount.process.pid) <= before + 10  # of inodes
        records = mount.records_until(lambda found: len(flows(found)) >= 11)
    assert {flow.dst for flow in flows(records)} == {"read", *(f"f{number}" for number in range(10))}


def flows(records: list[Record]) -> list[Flow]:
    return [record for record in records if isinstance(record, Flow)]
