"""A proof that takes long is about the files of its copy, whatever becomes of their descriptors and names."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Lost, Record
from tests.loopfs import MIB
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

SIZE = 32868
"""Eight blocks and a piece of one."""

SHARED = 32768
DIRTY = 32 * MIB
"""Not written out yet when the copy is made: its proof does that first, which takes long."""

TIMES = 4


@pytest.fixture
def mount(sharing_backing: Path) -> Iterator[Mounted]:
    """A mount where a proof has to look twice, with a source in it."""
    (sharing_backing / "source").write_bytes(noise(SIZE))
    (sharing_backing / "other").write_bytes(noise(SIZE, seed=2))
    os.sync()
    with mounted(sharing_backing, "--paths", "copy_file_range") as made:
        yield made


def copy_then(mount: Mounted, disturb: Callable[[int, int, Path, Path], object]) -> list[Copy]:
    """Copy into files with much that is dirty, each copy followed by `disturb(source, destination,
    source_name, destination_name)`, which closes both; the records, of which none was lost."""
    dirty = noise(MIB) * (DIRTY // MIB)
    for number in range(TIMES):
        names = mount.path / f"source{number}", mount.path / f"copy{number}"
        names[0].write_bytes(noise(SIZE, seed=number))
        source, destination = os.open(names[0], os.O_RDWR), os.open(names[1], os.O_RDWR | os.O_CREAT)
        os.fsync(source)
        os.pwrite(destination, dirty, SHARED + MIB)
        copied = 0
        while copied < SIZE:
            copied += os.copy_file_range(source, destination, SIZE - copied, copied, copied)
        disturb(source, destination, *names)

    def done(records: list[Record]) -> bool:
        return (
            sum(isinstance(record, Copy) and record.dispatch == "dispatched" for record in records) >= TIMES
        )

    records = mount.records_until(done)
    assert not [record for record in records if isinstance(record, Lost)]
    return [record for record in records if isinstance(record, Copy) and record.dispatch == "dispatched"]


def check(copies: list[Copy]) -> None:
    """Each was told once, with what was shared when it was made."""
    assert [copy.dst for copy in copies] == [f"copy{number}" for number in range(TIMES)]
    told = {(copy.src[:6], copy.copied, copy.shared, copy.rewritten, copy.holes) for copy in copies}
    assert told == {("source", SIZE, SHARED, SIZE - SHARED, 0)}


def close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def test_both_files_are_closed_at_once(mount: Mounted) -> None:
    check(copy_then(mount, lambda source, destination, *_: close(source, destination)))


def test_their_descriptors_are_used_again(mount: Mounted) -> None:
    """By other files, of which one looks like the copy's source and the other shares nothing."""

    def reuse(source: int, destination: int, *_: Path) -> None:
        close(source, destination)
        close(*(os.open(mount.path / name, os.O_RDONLY) for name in ("other", "source")))

    check(copy_then(mount, reuse))


def test_the_source_is_written_over(mount: Mounted) -> None:
    def overwrite(source: int, destination: int, *_: Path) -> None:
        os.pwrite(source, noise(SIZE, seed=99), 0)
        os.fsync(source)
        close(source, destination)

    check(copy_then(mount, overwrite))


def test_the_destination_is_cut_and_written(mount: Mounted) -> None:
    def cut(source: int, destination: int, *_: Path) -> None:
        os.ftruncate(destination, 0)
        os.pwrite(destination, noise(SIZE, seed=98), 0)
        close(source, destination)

    check(copy_then(mount, cut))


def test_the_next_byte_is_written(mount: Mounted) -> None:
    """Into the block that the copy's end shares with it."""

    def append(source: int, destination: int, *_: Path) -> None:
        os.pwrite(destination, b"x", SIZE)
        os.fsync(destination)
        close(source, destination)

    check(copy_then(mount, append))


def test_both_are_renamed_and_removed(mount: Mounted) -> None:
    def remove(source: int, destination: int, one: Path, other: Path) -> None:
        os.rename(one, mount.path / "gone")
        os.unlink(mount.path / "gone")
        close(destination)
        os.unlink(other)
        close(source)

    check(copy_then(mount, remove))


def test_others_are_not_kept_waiting(mount: Mounted) -> None:
    """What another program does to other files goes on while a proof is made."""
    stop, done = threading.Event(), []

    def work() -> None:
        with (mount.path / "elsewhere").open("wb", buffering=0) as file:
            while not stop.is_set():
                os.pwrite(file.fileno(), b"y" * 4096, 0)
                done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        check(copy_then(mount, lambda source, destination, *_: close(source, destination)))
    finally:
        stop.set()
        thread.join()
    assert len(done) > TIMES
