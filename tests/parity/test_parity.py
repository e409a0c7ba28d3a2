"""Random programs run in a mount and on the filesystem itself side by side: nothing may differ."""

import itertools
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.conftest import require
from tests.mounted import Mounted, mounted
from tests.parity.world import ALLOCATIONS, OPEN_FLAGS, RENAMES, World

BLOCK = 4096

Maps = dict[str, list[tuple[int, int]]]

Operation = tuple[str, tuple[object, ...]]

SLOTS = st.integers(0, 2)
NAMES = st.sampled_from(["a", "b", "c", "d", "d/a", "d/b", "d/e"])
NUMBERS = st.one_of(
    st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 4 * BLOCK, 16 * BLOCK, 16 * BLOCK + 7]),
    st.integers(0, 20 * BLOCK),
)
TIMES = st.integers(-(10**18), 4 * 10**18)
MODES = st.integers(0, 0o7777)


def _operation(name: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(name), st.tuples(*arguments))


OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    _operation("open", SLOTS, NAMES, st.sampled_from(OPEN_FLAGS)),
    _operation("open", SLOTS, NAMES, st.just(OPEN_FLAGS[1])),
    _operation("write", SLOTS, NUMBERS, NUMBERS, st.integers(0, 254)),
    _operation("write", SLOTS, NUMBERS, NUMBERS, st.integers(0, 254)),
    _operation("copy", SLOTS, SLOTS, NUMBERS, NUMBERS, NUMBERS),
    _operation("copy", SLOTS, SLOTS, NUMBERS, NUMBERS, NUMBERS),
    _operation("copy", SLOTS, SLOTS, st.just(0), st.just(0), st.just(1 << 62)),
    _operation("overlap", SLOTS, NUMBERS, NUMBERS, NUMBERS),
    _operation("read", SLOTS, NUMBERS, NUMBERS),
    _operation("ftruncate", SLOTS, NUMBERS),
    _operation("fallocate", SLOTS, st.sampled_from(ALLOCATIONS), NUMBERS, NUMBERS),
    _operation("fsync", SLOTS),
    _operation("release", SLOTS),
    _operation("rename", NAMES, NAMES, st.sampled_from(RENAMES)),
    _operation("link", NAMES, NAMES),
    _operation("unlink", NAMES),
    _operation("mkdir", NAMES),
    _operation("rmdir", NAMES),
    _operation("symlink", NAMES, NAMES),
    _operation("listing", st.sampled_from([".", "d"])),
    _operation("chmod", NAMES, MODES),
    _operation("utime", NAMES, TIMES, TIMES),
    _operation("setxattr", NAMES, st.integers(0, 2), st.binary(max_size=64), st.integers(0, 2)),
    _operation("removexattr", NAMES, st.integers(0, 2)),
)

SETUP: list[Operation] = [
    ("mkdir", ("d",)),
    ("open", (0, "a", OPEN_FLAGS[1])),
    ("write", (0, 0, 5 * BLOCK + 100, 1)),
    ("write", (0, 9 * BLOCK, 2 * BLOCK, 2)),
    ("open", (1, "d/b", OPEN_FLAGS[1])),
    ("write", (1, 3 * BLOCK, 3 * BLOCK, 3)),
]
"""Every program begins with two files open that have holes."""

_serial = itertools.count()


@pytest.fixture(scope="module", params=["btrfs", "xfs"])
def mount(request: pytest.FixtureRequest) -> Iterator[Mounted]:
    require("fuse", "root", "loop")
    backing = request.getfixturevalue(request.param) / "parity"
    backing.mkdir()
    with mounted(backing) as mount:
        yield mount


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(OPERATIONS, min_size=5, max_size=40))
def test_random_programs_see_no_difference(mount: Mounted, program: list[Operation]) -> None:
    name = f"p{next(_serial)}"
    through, native = mount.path / name, mount.backing.with_name(f"parity-{name}")
    through.mkdir()
    native.mkdir()
    try:
        _compare(World(through), World(native), [*SETUP, *program])
    finally:
        shutil.rmtree(through)
        shutil.rmtree(native)


def _compare(through: World, native: World, program: list[Operation]) -> None:
    try:
        for number, (operation, arguments) in enumerate(program):
            note(f"{number}: {operation}{arguments}")
            assert through.do(operation, arguments) == native.do(operation, arguments), (number, operation)
        assert through.everything() == native.everything()
    finally:
        through.close()
        native.close()
    copied = any(operation in ("copy", "overlap") for operation, _ in program)
    _compare_holes(through.holes(), native.holes(), exactly=not copied)


def _compare_holes(through: Maps, native: Maps, exactly: bool) -> None:
    """A copy in the mount keeps the holes of its source on every path; the filesystem's own, where it splices
    what it cannot share (fs/read_write.c, splice_copy_file_range), writes them as zeros. So after a copy the
    mount may have holes where the other has data, never the reverse."""
    if exactly:
        assert through == native
    assert through.keys() == native.keys()
    for name, stretches in through.items():
        for start, end in stretches:
            assert any(first <= start and end <= last for first, last in native[name]), (name, start, end)
