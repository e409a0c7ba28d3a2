"""The native layer's table of inodes: it has what was entered, whatever else came and went."""

import os
import random

from fusecopy.native import nodes
from fusecopy.native._native import ffi
from fusecopy.native.entries import Entry

MOST = 5_000


def tell(number: int, size: int) -> Entry:
    """Tell the kernel of a file of so many bytes."""
    entry = Entry(ffi.new("struct fusecopy_entry *"))
    entry.native.stat.st_size = size
    nodes.tell(number, entry.native)
    assert (entry.number, entry.st_size) == (number, size)
    return entry


def believed(entry: Entry) -> float:
    return float(entry.native.attr_timeout)


def test_numbers_come_and_go() -> None:
    """Few and many in turn, so that the table grows and shrinks; some near each other, some far apart."""
    chance = random.Random(1)
    starts = [1, 1 << 48, (1 << 64) - MOST, *(chance.getrandbits(63) | 1 for _ in range(9))]
    known: dict[int, int] = {}
    for wanted in (MOST, 50, MOST // 2, 0, 300, 0):
        while len(known) < wanted:
            number = chance.choice(starts) + chance.randrange(MOST)
            if number not in known:
                nodes.enter(number, -1, 2.5, 1)
                assert believed(tell(number, len(known))) == 2.5
                known[number] = len(known)
        gone = chance.sample(sorted(known), len(known) - wanted)
        for number in gone:
            assert nodes.told_size(number) == known.pop(number)
            nodes.forget(number)
        assert {number: nodes.told_size(number) for number in known} == known
        assert all(nodes.told_size(number) == -1 for number in gone)


def test_what_is_not_believed_any_more() -> None:
    nodes.enter(7, -1, 3600, 1)
    assert believed(tell(7, 0)) == 3600
    assert nodes.expire(7)
    assert not nodes.expire(7)
    assert believed(tell(7, 0)) == 0
    nodes.forget(7)


def test_a_number_that_is_not_there_is_told_but_not_believed() -> None:
    assert believed(tell(7, 5)) == 0
    assert nodes.told_size(7) == -1
    assert not nodes.expire(7)
    nodes.forget(7)


def test_descriptors_are_closed_that_nobody_uses() -> None:
    descriptor = os.open("/", os.O_PATH)
    nodes.enter(7, descriptor, 0, 1)
    nodes.take_back(7)
    assert os.path.lexists(f"/proc/self/fd/{descriptor}")
    nodes.close(descriptor)
    assert not os.path.lexists(f"/proc/self/fd/{descriptor}")
    nodes.close(-1)
    nodes.forget(7)
