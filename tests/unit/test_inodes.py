"""The inode table by itself: numbers, counts, and whose descriptor is closed when."""

import gc
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusecopy.filesystem import inodes
from fusecopy.filesystem.inode import ROOT, Inode
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.native import nodes
from fusecopy.native.listings import Found

LIMIT = 8


@pytest.fixture
def table(tmp_path: Path) -> Iterator[InodeTable]:
    """A table that may have eight descriptors open besides the root's."""
    table = InodeTable(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY), LIMIT, timeout=1)
    yield table
    table.close()


def enter(table: InodeTable, path: Path) -> Inode:
    """Look a file of the root up, as the kernel would."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    return table.enter(descriptor, os.fstat(descriptor), table.root, os.fsencode(path.name))


def claim(table: InodeTable, device: int, ino: int) -> Inode:
    """Look up a file of which the backing says these numbers."""
    descriptor = os.open("/dev/null", os.O_PATH)
    st = os.stat_result((stat.S_IFREG, ino, device, 1, 0, 0, 0, 0, 0, 0))
    known = table.find(st)
    inode = table.enter(descriptor, st, table.root, b"claimed")
    assert known in (None, inode)
    assert table.find(st) is inode
    return inode


def is_open(descriptor: int) -> bool:
    return os.path.lexists(f"/proc/self/fd/{descriptor}")


def test_the_backings_numbers_are_kept_where_they_are_free(table: InodeTable) -> None:
    device = table.root.device
    assert claim(table, device, 4711).number == 4711
    assert claim(table, device, ROOT).number != ROOT
    assert claim(table, device, 0).number > ROOT
    assert claim(table, device, (1 << 64) - 1).number == (1 << 64) - 1


def test_a_file_whose_number_is_taken_keeps_another(table: InodeTable) -> None:
    device, further = table.root.device, table.root.device + 1
    other = claim(table, further, 10)
    assert other.number != 10
    taken = claim(table, device, other.number + 5)
    second = claim(table, further, 15)
    assert len({other.number, taken.number, second.number}) == 3
    number = second.number
    table.forget([(taken.number, 1)])
    assert claim(table, further, 15).number == number
    assert claim(table, device, taken.ino) is not taken
    table.forget([(second.number, 2)])
    assert claim(table, further, 15).number != second.ino
    assert table.get(ROOT) is table.root


def found(directory: Path) -> list[Found]:
    """What a listing finds in a directory, by name."""
    batch = []
    for name in sorted(os.listdir(directory)):
        descriptor = os.open(directory / name, os.O_PATH | os.O_NOFOLLOW)
        st = os.fstat(descriptor)
        batch.append(Found(os.fsencode(name), descriptor, st.st_dev, st.st_ino, st.st_size))
    return batch


def test_a_batch_is_entered_like_its_files(table: InodeTable, tmp_path: Path) -> None:
    """One known and open, one known and closed, a hard link, one that may not be looked up, one new."""
    for name in ("a", "b", "d", "e"):
        (tmp_path / name).write_text(name)
    known, closed = enter(table, tmp_path / "a"), enter(table, tmp_path / "b")
    for n in range(LIMIT):
        enter(table, tmp_path / "a")
        claim(table, table.root.device, 4711 + n)
    assert (known.descriptor >= 0, closed.descriptor) == (True, -1)
    os.link(tmp_path / "a", tmp_path / "c")
    batch = found(tmp_path)
    os.close(batch[3].descriptor)
    batch[3] = Found(b"d", -1, 0, 0, 0)
    a, b, c, d, e = table.enter_all(batch, table.root)
    assert (a, b, c, d) == (known, closed, known, None)
    assert known.lookups == 1 + LIMIT + 2
    assert known.seen == (table.root, b"c")
    assert closed.descriptor == batch[1].descriptor
    assert e is not None
    assert (e.descriptor, e.lookups, e.seen) == (batch[4].descriptor, 1, (table.root, b"e"))
    assert [is_open(each.descriptor) for each in batch] == [False, True, False, False, True]


def test_a_batch_above_the_limit(table: InodeTable, tmp_path: Path) -> None:
    for n in range(10 * LIMIT):
        (tmp_path / f"f{n}").write_text(f"f{n}")
    batch = found(tmp_path)
    entered = [inode for inode in table.enter_all(batch, table.root) if inode]
    assert [is_open(each.descriptor) for each in batch] == [False] * 9 * LIMIT + [True] * LIMIT
    for inode in entered:
        with table.borrow(inode.number) as descriptor:
            assert Path(f"/proc/self/fd/{descriptor}").read_bytes() == inode.name


def test_many_are_forgotten_at_once(table: InodeTable, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for n in range(LIMIT):
        (tmp_path / f"f{n}").touch()
    entered = [enter(table, tmp_path / f"f{n}") for n in range(LIMIT)]
    twice = enter(table, tmp_path / "f0")
    claimed = [claim(table, table.root.device, 4711 + n) for n in range(inodes.CLOSED_AT_ONCE)]
    numbers = [inode.number for inode in (*entered, *claimed)]
    with table.borrow(entered[1].number) as borrowed:
        table.forget([(ROOT, 1), (99999, 1), *((number, 1) for number in numbers)])
        assert is_open(borrowed)
        assert len(table) == 1
        assert table.get(twice.number) is twice
    assert not is_open(borrowed)
    table.forget([(twice.number, 1), (twice.number, 1)])
    assert len(table) == 0
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(("names", "last", "kept"), [(1, True, True), (2, False, False)])
def test_a_file_that_lost_a_name_may_be_closed_while_it_has_another(
    table: InodeTable, tmp_path: Path, names: int, last: bool, kept: bool
) -> None:
    (tmp_path / "a").touch()
    if names == 2:
        os.link(tmp_path / "a", tmp_path / "b")
    inode = enter(table, tmp_path / "a")
    assert table.keep(os.stat(tmp_path / "a")) is inode
    os.unlink(tmp_path / "a")
    table.settle(inode, unnamed=False, last=last)
    for n in range(2 * LIMIT):
        claim(table, table.root.device, 4711 + n)
    assert (inode.descriptor >= 0) is kept


def test_of_two_names_that_go_at_once_one_is_the_last(table: InodeTable, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.link(tmp_path / "a", tmp_path / "b")
    inode = enter(table, tmp_path / "a")
    for name in ("a", "b"):
        assert table.keep(os.stat(tmp_path / name)) is inode
    for name in ("a", "b"):
        os.unlink(tmp_path / name)
    for _ in range(2):
        table.settle(inode, unnamed=False, last=False)
    for n in range(2 * LIMIT):
        claim(table, table.root.device, 4711 + n)
    assert inode.descriptor >= 0


def test_forgotten_while_borrowed(table: InodeTable, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    inode = enter(table, tmp_path / "f")
    with table.borrow(inode.number) as outer, table.borrow(inode.number) as inner:
        assert outer == inner
        table.forget([(inode.number, 1)])
        assert len(table) == 0
        assert is_open(outer)
    assert not is_open(outer)
    with pytest.raises(OSError, match="Stale"):
        table.get(inode.number)


def test_what_is_borrowed_or_about_to_lose_its_name_stays_open(table: InodeTable, tmp_path: Path) -> None:
    for n in range(4 * LIMIT):
        (tmp_path / f"f{n}").write_text(f"{n}")
    first, second = (enter(table, tmp_path / f"f{n}") for n in range(2))
    with table.borrow(first.number) as borrowed:
        st = os.stat(tmp_path / "f1")
        assert table.keep(st) is table.keep(st) is second
        table.give_back(second)
        for n in range(2, 4 * LIMIT):
            enter(table, tmp_path / f"f{n}")
        assert is_open(borrowed)
        assert second.descriptor >= 0
        (tmp_path / "f1").unlink()
        table.settle(second, unnamed=True, last=False)
    for n in range(2, 4 * LIMIT):
        enter(table, tmp_path / f"f{n}")
    assert first.descriptor < 0
    with table.borrow(second.number) as unnamed:
        assert Path(f"/proc/self/fd/{unnamed}").read_text() == "1"
    table.forget([(second.number, 1)])
    assert not is_open(unnamed)


def test_a_descriptor_that_is_closed_is_opened_again(table: InodeTable, tmp_path: Path) -> None:
    for n in range(4 * LIMIT):
        (tmp_path / f"f{n}").write_text(f"{n}")
    entered = [enter(table, tmp_path / f"f{n}") for n in range(4 * LIMIT)]
    assert sum(inode.descriptor >= 0 for inode in entered) == LIMIT
    for n, inode in enumerate(entered):
        with table.borrow(inode.number) as descriptor:
            assert Path(f"/proc/self/fd/{descriptor}").read_text() == f"{n}"


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """The descriptor that the native layer has of each inode it was told of."""
    lent: dict[int, int] = {}

    def watch(name: str, note: Callable[..., object]) -> None:
        real = getattr(nodes, name)
        monkeypatch.setattr(nodes, name, lambda *args: (note(*args), real(*args)))

    watch("enter", lambda number, descriptor, timeout, parent: lent.update({number: descriptor}))
    watch("lend", lambda number, descriptor: lent.update({number: descriptor}))
    watch("take_back", lambda number: lent.update({number: -1}))
    watch("forget", lambda number: lent.pop(number))
    return lent


def test_what_is_open_is_lent_and_nothing_else(lent: dict[int, int], tmp_path: Path) -> None:
    (tmp_path / "backing").mkdir()
    files = [tmp_path / "backing" / f"f{n}" for n in range(4 * LIMIT)]
    for file in files:
        file.touch()
    table = InodeTable(os.open(tmp_path / "backing", os.O_RDONLY | os.O_DIRECTORY), LIMIT, timeout=1)
    entered = [table.root]

    def check() -> None:
        assert lent == {inode.number: inode.descriptor for inode in entered}
        assert all(is_open(descriptor) for descriptor in lent.values() if descriptor >= 0)

    for file in files:
        entered.append(enter(table, file))
        check()
    assert -1 in lent.values()
    for file, inode in zip(files, entered[1:], strict=True):
        with table.borrow(inode.number):
            check()
        assert enter(table, file) is inode
        check()
    assert enter(table, files[0]) is entered[1]
    check()
    for inode in entered[1::2]:
        with table.borrow(inode.number):
            table.forget([(inode.number, 9)])
        entered.remove(inode)
        check()
    table.close()
    assert lent == {}


def test_room_is_given_back_after_many_were_forgotten(
    table: InodeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inodes, "SPARE", 100)
    device = table.root.device
    claimed = [claim(table, device, 1000 + n) for n in range(1000)]
    for inode in claimed[1:]:
        table.forget([(inode.number, 1)])
    assert len(table) == 1
    assert table.get(claimed[0].number) is claimed[0]
    assert table._by_number.__sizeof__() < dict.fromkeys(range(1000)).__sizeof__() / 2


def test_inodes_are_not_looked_at_by_the_cycle_collector(table: InodeTable) -> None:
    inode = claim(table, table.root.device, 4711)
    gc.collect()
    assert not any(gc.is_tracked(each) for each in (inode, inode.seen))
    if sys.version_info < (3, 14):  # from then on every dict is looked at
        assert not gc.is_tracked(table._by_number)


def test_a_tree_however_deep_is_freed() -> None:
    """In a program of its own, which recursion in the interpreter would crash."""
    program = """
from fusecopy.filesystem.inode import Inode
inode = None
for number in range(500_000):
    inode = Inode(number, 1, number, (inode, b"d"), -1)
print(inode.path().count(b"d"))
inode = None
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4096\n", "")


def test_many_threads_leave_no_count_behind(table: InodeTable, tmp_path: Path) -> None:
    files = [tmp_path / f"f{n}" for n in range(4 * LIMIT)]
    for file in files:
        file.write_text(file.name)
    together = threading.Barrier(8)

    def use(_: int) -> None:
        together.wait(10)
        for _ in range(20):
            for file in files:
                number = enter(table, file).number
                with table.borrow(number) as descriptor:
                    assert Path(f"/proc/self/fd/{descriptor}").read_text() == file.name
                table.forget([(number, 1)])

    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert len(table) == 0
    assert len(os.listdir("/proc/self/fd")) == before
