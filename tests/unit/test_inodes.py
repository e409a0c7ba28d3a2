"""The inode table by itself: numbers, counts, and whose descriptor is closed when."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusecopy.filesystem.inodes import InodeTable
from fusecopy.native import inodes
from fusecopy.native._native import lib
from fusecopy.native.entries import Entry
from fusecopy.native.inodes import ROOT, Inode
from fusecopy.native.listings import Directory, Listing
from fusecopy.native.unlinking import losing

LIMIT = 8
MANY = 64


@pytest.fixture
def table(tmp_path: Path) -> Iterator[InodeTable]:
    """A table that may have eight descriptors open besides the root's."""
    table = InodeTable(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY), LIMIT, timeout=1)
    yield table
    table.close()


def enter(table: InodeTable, path: Path) -> Inode:
    """Look a file of the root up, as the kernel would."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    return Entry.entered(descriptor, table.root, os.fsencode(path.name))[1]


def claim(table: InodeTable, device: int, ino: int) -> Inode:
    """Look up a file of which the backing says these numbers."""
    known = inodes.find(device, ino)
    inode = enter_as(table.root, device, ino, b"claimed")
    assert known in (None, inode)
    assert inodes.find(device, ino) == inode
    return inode


def enter_as(directory: Inode, device: int, ino: int, name: bytes) -> Inode:
    entered = lib.fusecopy_enter(os.open("/dev/null", os.O_PATH), device, ino, directory.native, name)
    return Inode(lib.fusecopy_hold(entered))


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
    assert claim(table, device, taken.ino) != taken
    table.forget([(second.number, 2)])
    assert claim(table, further, 15).number != second.ino
    assert table.get(ROOT) == table.root


def found(path: Path) -> Inode | None:
    st = os.stat(path)
    return inodes.find(st.st_dev, st.st_ino)


def list_all(table: InodeTable, directory: Path) -> None:
    """Look up all that a directory has, as READDIRPLUS does."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    listing, opened = Listing(1 << 20, plus=True), Directory(fd)
    while listing.find(opened, ROOT, ROOT):
        listing.enter(table.root)
        listing.lay_out()
    os.close(fd)


def test_a_listing_is_entered_like_its_files(table: InodeTable, tmp_path: Path) -> None:
    """One known and open, one known and closed, a hard link, one new."""
    for name in ("a", "b", "e"):
        (tmp_path / name).write_text(name)
    known, closed = enter(table, tmp_path / "a"), enter(table, tmp_path / "b")
    for n in range(LIMIT):
        enter(table, tmp_path / "a")
        claim(table, table.root.device, 4711 + n)
    assert (known.descriptor >= 0, closed.descriptor) == (True, -1)
    os.link(tmp_path / "a", tmp_path / "c")
    before = len(os.listdir("/proc/self/fd"))
    list_all(table, tmp_path)
    assert known.lookups == 1 + LIMIT + 2
    assert known.seen in [(table.root, b"a"), (table.root, b"c")]
    assert closed.descriptor >= 0
    new = found(tmp_path / "e")
    assert new is not None
    assert (new.lookups, new.seen) == (1, (table.root, b"e"))
    assert new.descriptor >= 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_listing_above_the_limit(table: InodeTable, tmp_path: Path) -> None:
    for n in range(10 * LIMIT):
        (tmp_path / f"f{n}").write_text(f"f{n}")
    before = len(os.listdir("/proc/self/fd"))
    list_all(table, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + LIMIT
    for n in range(10 * LIMIT):
        inode = found(tmp_path / f"f{n}")
        assert inode is not None
        with table.borrow(inode.number) as descriptor:
            assert Path(f"/proc/self/fd/{descriptor}").read_bytes() == inode.name


def test_many_are_forgotten_at_once(table: InodeTable, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for n in range(LIMIT):
        (tmp_path / f"f{n}").touch()
    entered = [enter(table, tmp_path / f"f{n}") for n in range(LIMIT)]
    twice = enter(table, tmp_path / "f0")
    claimed = [claim(table, table.root.device, 4711 + n) for n in range(MANY)]
    numbers = [inode.number for inode in (*entered, *claimed)]
    with table.borrow(entered[1].number) as borrowed:
        table.forget([(ROOT, 1), (99999, 1), *((number, 1) for number in numbers)])
        assert is_open(borrowed)
        assert len(table) == 1
        assert table.get(twice.number) == twice
    assert not is_open(borrowed)
    table.forget([(twice.number, 1), (twice.number, 1)])
    assert len(table) == 0
    assert len(os.listdir("/proc/self/fd")) == before


def push_out(table: InodeTable) -> None:
    """Look up so many others that what may be closed is."""
    for n in range(2 * LIMIT):
        claim(table, table.root.device, 4711 + n)


@pytest.mark.parametrize("names", [1, 2])
def test_a_file_that_lost_a_name_may_be_closed_while_it_has_another(
    table: InodeTable, tmp_path: Path, names: int
) -> None:
    (tmp_path / "a").touch()
    if names == 2:
        os.link(tmp_path / "a", tmp_path / "b")
    inode = enter(table, tmp_path / "a")
    with losing(table.root, b"a"):
        os.unlink(tmp_path / "a")
    push_out(table)
    assert (inode.descriptor >= 0) is (names == 1)


def test_of_two_names_that_go_at_once_one_is_the_last(table: InodeTable, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.link(tmp_path / "a", tmp_path / "b")
    inode = enter(table, tmp_path / "a")
    with losing(table.root, b"a"), losing(table.root, b"b"):
        for name in ("a", "b"):
            os.unlink(tmp_path / name)
    push_out(table)
    assert inode.descriptor >= 0


def test_what_did_not_lose_its_name_may_be_closed(table: InodeTable, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    inode = enter(table, tmp_path / "a")
    with pytest.raises(ZeroDivisionError), losing(table.root, b"a"):
        _ = 1 / 0
    push_out(table)
    assert inode.descriptor < 0


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
    with table.borrow(first.number) as borrowed, losing(table.root, b"f1"):
        for n in range(2, 4 * LIMIT):
            enter(table, tmp_path / f"f{n}")
        assert is_open(borrowed)
        assert second.descriptor >= 0
        (tmp_path / "f1").unlink()
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


def borrowed(number: int) -> int:
    """What a handler in C would use."""
    inode = lib.fusecopy_borrow(number)
    descriptor = int(inode.descriptor) if inode else -1
    if inode:
        lib.fusecopy_give_back(inode)
    return descriptor


def test_what_is_open_is_lent_and_nothing_else(table: InodeTable, tmp_path: Path) -> None:
    files = [tmp_path / f"f{n}" for n in range(4 * LIMIT)]
    for file in files:
        file.touch()
    entered = [enter(table, file) for file in files]
    assert [borrowed(inode.number) >= 0 for inode in entered] == [False] * 3 * LIMIT + [True] * LIMIT
    for file, inode in zip(files, entered, strict=True):
        with table.borrow(inode.number) as descriptor:
            assert borrowed(inode.number) == descriptor
            assert os.path.samestat(os.fstat(descriptor), os.stat(file))
        assert enter(table, file) == inode
    for inode in entered:
        table.forget([(inode.number, 9)])
        assert borrowed(inode.number) == -1


def test_room_is_given_back_after_many_were_forgotten(table: InodeTable) -> None:
    device = table.root.device
    claimed = [claim(table, device, 1000 + n) for n in range(2000)]
    for inode in claimed[1:]:
        table.forget([(inode.number, 1)])
    assert len(table) == 1
    assert table.get(claimed[0].number) == claimed[0]
    again = [claim(table, device, 1000 + n) for n in range(2000)]
    assert again[0] == claimed[0]
    assert not {*again[1:]} & {*claimed}


def test_names_come_and_go(table: InodeTable, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "a").touch()
    directory, inode = enter(table, tmp_path / "d"), enter(table, tmp_path / "a")
    inode.see(directory, b"b")
    inode.see(directory, b"c")
    assert inode.path() == b"d/c"
    inode.see(table.root, b"a")
    assert (inode.path(), inode.seen) == (b"a", (table.root, b"a"))
    assert not inode.lose(directory, b"none")
    assert not inode.lose(table.root, b"a")
    assert inode.path() == b"d/c"
    assert not inode.lose(directory, b"b")
    assert inode.lose(directory, b"c")
    assert inode.path() == b"d/c"
    inode.named(table.root, b"new")
    assert inode.path() == b"new"
    table.root.see(directory, b"loop")
    assert (table.root.path(), table.root.seen) == (b".", (None, b""))


def test_of_very_many_names_the_latest_are_known(table: InodeTable, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    inode = enter(table, tmp_path / "a")
    for n in range(1000):
        inode.see(table.root, b"%d" % n)
    for n in reversed(range(990, 1000)):
        assert inode.path() == b"%d" % n
        assert not inode.lose(table.root, b"%d" % n)


def test_a_tree_however_deep_is_freed(table: InodeTable) -> None:
    """Recursion would overflow the stack."""
    inode = table.root
    for number in range(300_000):
        above, inode = inode, enter_as(inode, table.root.device, 10 + number, b"d")
        if number:
            table.forget([(above.number, 1)])
    assert inode.path().count(b"d") == 4096
    table.forget([(inode.number, 1)])
    assert len(table) == 0
    del inode, above


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


@pytest.mark.parametrize("size", [255, 1024, 1025, 4095])
def test_names_are_as_long_as_the_kernel_sends_them(table: InodeTable, size: int) -> None:
    """A backing that is a FUSE filesystem may have names of up to a path's length."""
    name = b"n" * size
    assert enter_as(table.root, table.root.device, 5, name).name == name
