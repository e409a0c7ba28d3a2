"""Concurrent first copies of fresh mounts, which cost a server that knows opcode 47 only all later ones.

From Linux 6.18 on, the kernel takes an ENOSYS to opcode 53 for one to 47 if another copy got ENOSYS just
before, and then splices every later copy of the mount (fs/fuse/file.c, 6.18 to 7.2).
"""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mounted import mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

SIZE = 65536
AT_ONCE = 10
"""Threads on each mount."""


def copy_at_once(one: Path, two: Path) -> None:
    """Let threads make the first copies of two mounts, released at the same instant."""
    start = threading.Barrier(2 * AT_ONCE, timeout=60)

    def first_copy(number: int) -> int:
        mount = one if number % 2 else two
        with (mount / "a").open("rb") as a, (mount / f"b{number}").open("wb") as b:
            start.wait()
            return os.copy_file_range(a.fileno(), b.fileno(), SIZE)

    with ThreadPoolExecutor(2 * AT_ONCE) as pool:
        assert list(pool.map(first_copy, range(2 * AT_ONCE))) == [SIZE] * 2 * AT_ONCE


def race(backing: Path, rounds: int) -> None:
    """Mount twice, race, and ask both mounts whether they got every copy, and still get one more."""
    (backing / "a").write_bytes(noise(SIZE))
    for _ in range(rounds):
        with mounted(backing) as one, mounted(backing) as two:
            copy_at_once(one.path, two.path)
            for mount in (one, two):
                with (mount.path / "a").open("rb") as a, (mount.path / "later").open("wb") as b:
                    assert os.copy_file_range(a.fileno(), b.fileno(), SIZE) == SIZE
                assert json.loads(mount.attribute("stats"))["copies"] == {"dispatched": AT_ONCE + 1}


@pytest.mark.timeout(120)
def test_first_copies_at_the_same_instant_are_dispatched(sharing_backing: Path) -> None:
    race(sharing_backing, 12)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_first_copies_of_a_thousand_mounts_are_dispatched(sharing_backing: Path) -> None:
    race(sharing_backing, 250)
