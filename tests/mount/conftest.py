"""Mounts that the tests of one module share, and a fresh directory in one for each test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mount.sides import Sides, data_requests
from tests.mounted import Mounted, mounted

WAYS: list[tuple[str, ...]] = [(), ("--passthrough",)]

_serial = itertools.count()


@pytest.fixture(scope="module", params=["btrfs", "xfs", "ext4"])
def shared_mount(request: pytest.FixtureRequest) -> Iterator[Mounted]:
    """A mount of root's, for all users, on each of the three filesystems."""
    require("fuse", "root", "loop")
    yield from _serve(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def btrfs_mount(btrfs: Path) -> Iterator[Mounted]:
    """A mount of root's, for all users, on btrfs."""
    require("fuse")
    yield from _serve(btrfs)


@pytest.fixture(
    scope="module", params=[(kind, *words) for kind in ("btrfs", "xfs", "ext4") for words in WAYS], ids=str
)
def any_mount(request: pytest.FixtureRequest) -> Iterator[Mounted]:
    """A mount of root's, for all users, on each of the three filesystems, with and without passthrough."""
    require("fuse", "root", "loop")
    kind, *arguments = request.param
    yield from _serve(request.getfixturevalue(kind), *arguments)


@pytest.fixture(scope="module", params=["btrfs", "xfs", "ext4"])
def passthrough_mount(request: pytest.FixtureRequest) -> Iterator[Mounted]:
    """A mount of root's, for all users, with kernel passthrough, on each of the three filesystems."""
    require("fuse", "root", "loop")
    yield from _serve(request.getfixturevalue(request.param), "--passthrough")


def _serve(filesystem: Path, *arguments: str) -> Iterator[Mounted]:
    backing = filesystem / f"served{next(_serial)}"
    backing.mkdir()
    with mounted(backing, "-o", "allow_other", *arguments) as mount:
        yield mount


@pytest.fixture
def sides(shared_mount: Mounted) -> Sides:
    """A fresh directory in a mount on each of the three filesystems, open to everybody."""
    return _fresh(shared_mount)


@pytest.fixture
def any_sides(any_mount: Mounted) -> Sides:
    """A fresh directory in an ordinary mount, and in one with passthrough, on each of the filesystems."""
    return _fresh(any_mount)


@pytest.fixture
def btrfs_sides(btrfs_mount: Mounted) -> Sides:
    """A fresh directory in a mount on btrfs, open to everybody."""
    return _fresh(btrfs_mount)


@pytest.fixture
def passthrough_sides(passthrough_mount: Mounted) -> Iterator[Sides]:
    """A fresh directory in such a mount; in the end the server must have read and written nothing."""
    before = data_requests(passthrough_mount)
    yield _fresh(passthrough_mount)
    assert data_requests(passthrough_mount) == before


def _fresh(mount: Mounted) -> Sides:
    name = f"t{next(_serial)}"
    native = mount.backing.with_name(f"{mount.backing.name}-{name}")
    for directory in (mount.path / name, native):
        directory.mkdir()
        directory.chmod(0o777)
    return Sides(mount, mount.path / name, mount.backing / name, native)
