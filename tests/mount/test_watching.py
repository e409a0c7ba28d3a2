"""By default the mount sees what others do to the backing: the kernel's long beliefs are taken back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import loopfs
from tests.conftest import require
from tests.mount.ordinary import AS_NOBODY, nobodys_mount
from tests.mounted import Mounted, mounted

TURNS = int(os.environ.get("FUSECOPY_TEST_TURNS", "150"))
"""Turns of the two clients in each test; more by hand."""

SEED = int(os.environ.get("FUSECOPY_TEST_SEED", "1"))

ROOT = Path(__file__).parents[2]

KINDS = ["btrfs", "subvolume", "xfs", "ext4", "tmpfs", "overlay"]


@contextmanager
def _filesystem(kind: str, request: pytest.FixtureRequest, place: Path) -> Iterator[Path]:
    if kind == "tmpfs":
        with loopfs.mount(place / kind, "-t", "tmpfs", "none") as point:
            yield point
    elif kind == "overlay":
        layers = request.getfixturevalue("ext4") / place.name
        for name in ("lower", "upper", "work"):
            (layers / name).mkdir(parents=True)
        options = ",".join(f"{name}dir={layers / name}" for name in ("lower", "upper", "work"))
        with loopfs.mount(place / kind, "-t", "overlay", "overlay", "-o", options) as point:
            yield point
        shutil.rmtree(layers)
    elif kind == "subvolume":
        outer = request.getfixturevalue("btrfs") / place.name
        loopfs.run("btrfs", "-q", "subvolume", "create", outer)
        yield outer
        loopfs.run("btrfs", "-q", "subvolume", "delete", outer)
    else:
        yield request.getfixturevalue(kind)


@pytest.fixture(
    scope="module", params=[(kind, who) for kind in KINDS for who in ("root", "nobody")], ids="-".join
)
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    """A mount with no options, of root's and of an ordinary user's, on each filesystem."""
    require("fuse", "root", "loop")
    kind, who = request.param
    with ExitStack() as stack:
        place = tmp_path_factory.mktemp(kind)
        filesystem = stack.enter_context(_filesystem(kind, request, place))
        if who == "root":
            backing = filesystem / f"{kind}-watched"
            backing.mkdir()
            yield stack.enter_context(mounted(backing))
            stack.close()
        else:
            yield stack.enter_context(nobodys_mount(filesystem))


def _client(mount: Mounted, *words: object) -> None:
    """Run the two clients as the mount's user: nobody else may enter."""
    owner = mount.backing.stat().st_uid
    prefix = () if owner == 0 else AS_NOBODY
    command = [
        *prefix,
        sys.executable,
        "-m",
        "tests.mount.turns",
        words[0],
        mount.path,
        mount.backing,
        *words[1:],
    ]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=600, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_each_sees_what_the_other_did_in_its_turn(watched: Mounted) -> None:
    _client(watched, "in_turn", SEED, TURNS)


def test_both_at_once_end_with_the_same(watched: Mounted) -> None:
    _client(watched, "at_once", SEED, TURNS)


def test_a_copy_changed_before_its_proof_says_so(btrfs: Path, tmp_path: Path) -> None:
    """The program has its answer before the proof, and somebody changes the backing then. Which comes
    first is not ours to say: the record is right either way."""
    require("fuse")
    backing = btrfs / tmp_path.name
    backing.mkdir()
    with mounted(backing) as mount:
        (mount.path / "a").write_bytes(b"a" * 65536)
        found: list[str] = []
        while "changed meanwhile" not in found and len(found) < 50:
            clone(mount.path / "a", mount.path / f"b{len(found)}")
            (backing / f"b{len(found)}").write_bytes(b"other")
            last = mount.copies(len(found) + 1)[-1]
            found.append(last.proof)
            if last.proof == "changed meanwhile":
                assert (last.shared, last.rewritten, last.unprovable) == (None, None, 65536)
        assert found[-1] == "changed meanwhile"


def clone(source: Path, destination: Path) -> None:
    """Copy a file by one request."""
    with source.open("rb") as a, destination.open("wb") as b:
        size = os.fstat(a.fileno()).st_size
        assert os.copy_file_range(a.fileno(), b.fileno(), size) == size
