"""A copy is proven and reported after its answer, as if no time had gone by in between."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Policy, Record
from tests.mounted import NATIVE_LANE, Mounted, answered_natively, mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

PIECE = 65536
PIECES = 64
COPIES = ("COPY_FILE_RANGE", "COPY_FILE_RANGE_64")
MANY = 600
"""More than the server may leave undone."""


@pytest.fixture
def mount(btrfs: Path) -> Iterator[Mounted]:
    """A mount with a file of many pieces in it."""
    backing = btrfs / "afterwards"
    backing.mkdir(exist_ok=True)
    (backing / "a").write_bytes(noise(PIECE) * PIECES)
    os.sync()
    with mounted(backing) as made:
        yield made


def clone_then(mount: Mounted, disturb: Callable[[int, int, int], object]) -> list[Copy]:
    """Copy piece after piece, each followed by `disturb(source, destination, offset)`; the records."""
    with (mount.path / "a").open("r+b") as a, (mount.path / "b").open("w+b") as b:
        source, destination = a.fileno(), b.fileno()
        for number in range(PIECES):
            at = number * PIECE
            assert os.copy_file_range(source, destination, PIECE, at, at) == PIECE
            disturb(source, destination, at)
    if NATIVE_LANE:  # else nothing follows an answer
        natively = answered_natively(mount)
        assert sum(natively.get(name, 0) for name in COPIES) >= PIECES
    return mount.copies(PIECES)


def shared(copies: list[Copy]) -> set[tuple[str, int | None]]:
    """What was said of the pieces."""
    return {(copy.path, copy.shared) for copy in copies}


def test_the_destination_is_written_at_once(mount: Mounted) -> None:
    copies = clone_then(mount, lambda _, out, at: os.pwrite(out, b"x" * PIECE, at))
    assert shared(copies) == {("reflink", PIECE)}


def test_the_source_is_written_at_once(mount: Mounted) -> None:
    copies = clone_then(mount, lambda source, _, at: os.pwrite(source, b"x" * PIECE, at))
    assert shared(copies) == {("reflink", PIECE)}


def test_the_source_is_cut_at_once(mount: Mounted) -> None:
    def cut(source: int, _: int, at: int) -> None:
        os.ftruncate(source, at)
        os.pwrite(source, noise(PIECE) * 2, at)

    assert shared(clone_then(mount, cut)) == {("reflink", PIECE)}


def test_the_destination_is_punched_at_once(mount: Mounted) -> None:
    punch = ["fallocate", "--punch-hole", "--length", str(PIECE), "--offset"]
    with (mount.path / "a").open("rb") as a, (mount.path / "b").open("w+b") as b:
        for at in range(0, PIECE * 8, PIECE):
            os.copy_file_range(a.fileno(), b.fileno(), PIECE, at, at)
            subprocess.run(
                [*punch, str(at), f"/proc/self/fd/{b.fileno()}"], check=True, pass_fds=[b.fileno()]
            )
    assert shared(mount.copies(8)) == {("reflink", PIECE)}


def test_the_destination_is_copied_over_at_once(mount: Mounted) -> None:
    """What was there is shared already, or not any more: each copy looks at it before and after."""
    (mount.path / "other").write_bytes(noise(PIECE, seed=2))
    with (
        (mount.path / "a").open("rb") as a,
        (mount.path / "other").open("rb") as other,
        (mount.path / "b").open("wb") as b,
    ):
        for _ in range(8):
            os.copy_file_range(a.fileno(), b.fileno(), PIECE, 0, 0)
            os.copy_file_range(other.fileno(), b.fileno(), PIECE, 0, 0)
    assert shared(mount.copies(16)) == {("reflink", PIECE)}
    assert {copy.shared_before for copy in mount.copies(16)} == {0}


def test_names_are_those_of_the_time(mount: Mounted) -> None:
    with (mount.path / "a").open("rb") as a:
        for number in range(PIECES):
            with (mount.path / "now").open("wb") as b:
                os.copy_file_range(a.fileno(), b.fileno(), PIECE)
                os.rename(mount.path / "now", mount.path / f"later{number}")
                os.unlink(mount.path / f"later{number}")
            os.lseek(a.fileno(), 0, os.SEEK_SET)
    for number, copy in enumerate(mount.copies(PIECES)):
        assert copy.dst in ("now", f"later{number}")  # and never one that another file has by then


def test_none_is_forgotten_and_their_order_is_kept(mount: Mounted) -> None:
    """Far more than may be left undone, each into a file of its own that is closed at once."""
    with (mount.path / "a").open("rb") as a:
        for number in range(MANY):
            with (mount.path / f"{number}").open("wb") as b:
                os.copy_file_range(a.fileno(), b.fileno(), PIECE, 0, 0)
    copies = mount.copies(MANY)
    assert [(copy.seq, copy.dst) for copy in copies] == [(n + 1, str(n)) for n in range(MANY)]
    assert shared(copies) == {("reflink", PIECE)}


def test_copies_of_several_files_in_turn(mount: Mounted) -> None:
    """They are proven file by file, and told in their order."""
    with (
        (mount.path / "a").open("rb") as a,
        (mount.path / "b").open("wb") as b,
        (mount.path / "c").open("wb") as c,
    ):
        for number in range(PIECES):
            for into, at in ((b, number), (c, PIECES - 1 - number)):
                os.copy_file_range(a.fileno(), into.fileno(), PIECE, at * PIECE, number * PIECE)
    copies = mount.copies(2 * PIECES)
    wanted = [
        told
        for n in range(PIECES)
        for told in (("b", n * PIECE, n * PIECE), ("c", (PIECES - 1 - n) * PIECE, n * PIECE))
    ]
    assert [(copy.dst, copy.off_in, copy.off_out) for copy in copies] == wanted
    assert [copy.seq for copy in copies] == list(range(1, 2 * PIECES + 1))
    assert [copy.mono_ns for copy in copies] == sorted(copy.mono_ns for copy in copies)
    assert shared(copies) == {("reflink", PIECE)}


def test_who_copied_has_become_another_program(mount: Mounted) -> None:
    code = (
        "import os; a = os.open('a', os.O_RDONLY); b = os.open('b', os.O_WRONLY | os.O_CREAT);"
        f"[os.copy_file_range(a, b, {PIECE}, n * {PIECE}, n * {PIECE}) for n in range({PIECES})];"
        "os.execv('/bin/true', ['true'])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=mount.path, check=True)
    assert {copy.comm for copy in mount.copies(PIECES)} == {Path(sys.executable).name}


def test_the_policy_is_changed_at_once(mount: Mounted) -> None:
    with (mount.path / "a").open("rb") as a, (mount.path / "b").open("wb") as b:
        for number in range(PIECES):
            os.copy_file_range(a.fileno(), b.fileno(), PIECE, 0, number * PIECE)
            mount.policy("paths=splice" if number % 2 == 0 else "default")

    def done(records: list[Record]) -> bool:
        return sum(isinstance(record, Copy) for record in records) == PIECES

    found = [record for record in mount.records_until(done) if isinstance(record, (Copy, Policy))]
    assert [isinstance(record, Copy) for record in found] == [True, False] * (len(found) // 2) + [True]
    paths = [record.path for record in found if isinstance(record, Copy)]
    assert paths == ["reflink", "splice"] * (PIECES // 2)


def test_an_announced_copy_is_not_answered_by_a_clone(mount: Mounted) -> None:
    with (mount.path / "a").open("rb") as a, (mount.path / "b").open("wb") as b:
        for number in range(8):
            if number % 2:
                os.setxattr(f"/proc/self/fd/{b.fileno()}", "user.fusecopy.how", b"copy")
            os.copy_file_range(a.fileno(), b.fileno(), PIECE, 0, number * PIECE)
    assert [copy.path for copy in mount.copies(8)] == ["reflink", "splice"] * 4


def test_the_last_copy_of_a_file_is_told_at_once(mount: Mounted) -> None:
    with (mount.path / "a").open("rb") as a, (mount.path / "b").open("wb") as b:
        for number in range(PIECES):
            os.copy_file_range(a.fileno(), b.fileno(), PIECE, 0, number * PIECE)
            said = os.getxattr(f"/proc/self/fd/{b.fileno()}", "user.fusecopy.copy")
            assert f'"off_out":{number * PIECE},'.encode() in said


def test_the_destination_is_written_far_behind_at_once(mount: Mounted) -> None:
    """The block that the file ended in is filled up, and is then no longer the clone's."""
    odd = PIECE - 1000
    with (mount.path / "a").open("rb") as a:
        os.truncate(mount.path / "a", odd)
        for number in range(8):
            with (mount.path / f"far{number}").open("wb") as b:
                os.copy_file_range(a.fileno(), b.fileno(), odd, 0, 0)
                os.pwrite(b.fileno(), b"x", PIECE * PIECES)
                os.fsync(b.fileno())
    assert shared(mount.copies(8)) == {("reflink", odd)}


def test_what_others_may_change_unseen_is_proven_before_the_answer(btrfs: Path) -> None:
    """Natively, too: what they change afterwards makes no difference to the record."""
    backing = btrfs / "coherent"
    backing.mkdir()
    (backing / "a").write_bytes(noise(PIECE) * PIECES)
    os.sync()

    def change(_: int, out: int, at: int) -> None:
        with (backing / "b").open("r+b") as behind:
            os.pwrite(behind.fileno(), b"x" * PIECE, at)

    with mounted(backing, "--coherent") as mount:
        copies = clone_then(mount, change)
    assert shared(copies) == {("reflink", PIECE)}


def test_what_the_kernel_writes_by_itself_is_proven_before_the_answer(btrfs: Path) -> None:
    backing = btrfs / "passthrough"
    backing.mkdir()
    (backing / "a").write_bytes(noise(PIECE) * PIECES)
    os.sync()
    with mounted(backing, "--passthrough") as mount:
        copies = clone_then(mount, lambda _, out, at: os.pwrite(out, b"x" * PIECE, at))
    told = {(copy.path, copy.shared, copy.proof) for copy in copies}
    assert told <= {("reflink", PIECE, "fiemap"), ("reflink", None, "changed meanwhile")}
    assert ("reflink", PIECE, "fiemap") in told
