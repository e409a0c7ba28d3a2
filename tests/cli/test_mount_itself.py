"""A mount that would appear in its own backing directory is refused; what is merely near it is served."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.errors import Exit
from tests.cli.commands import Place, background, run

pytestmark = [pytest.mark.fuse, pytest.mark.root]


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True, timeout=30)


@pytest.fixture
def shared(place: Place) -> Iterator[Place]:
    """The place's backing directory as a mount of its own that is shared, with a directory to mount on."""
    (place.backing / "point").mkdir()
    mount("--bind", place.backing, place.backing)
    mount("--make-private", place.backing)
    mount("--make-shared", place.backing)
    (place.backing.parent / "view").mkdir()
    try:
        yield place
    finally:
        for where in (place.backing.parent / "view", place.backing):
            subprocess.run(["umount", "--recursive", "--lazy", where], timeout=30)


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("how", ["--bind", "--rbind"])
@pytest.mark.parametrize("kind", ["shared", "slave"])
def test_mount_that_is_propagated_into_the_backing_is_refused(
    shared: Place, kind: str, how: str, link: bool
) -> None:
    view = shared.backing.parent / "view"
    mount(how, shared.backing, view)
    mount(f"--make-{kind}", view)
    served = view
    if link:
        served = shared.backing.parent / "link"
        served.symlink_to(view)
    point = shared.backing / "point"
    done = run("mount", "--log", shared.log, served, point)
    assert done.returncode == Exit.MOUNT_POINT
    assert f"a mount there appears at {view}/point, too, inside the backing directory" in done.stderr
    assert [m for m in mounts.ours() if m.mountpoint.startswith(str(shared.backing.parent))] == []


def test_private_view_of_what_holds_the_mount_point_is_served(shared: Place) -> None:
    view = shared.backing.parent / "view"
    mount("--bind", shared.backing, view)
    mount("--make-private", view)
    (shared.backing / "f").write_text("content")
    there = Place(view, shared.backing / "point", shared.log)
    with background(there):
        assert (there.point / "f").read_text() == "content"
        assert list((there.point / "point").iterdir()) == []


@pytest.mark.parametrize("deep", [False, True])
def test_directory_is_served_at_itself_and_at_its_parent(place: Place, deep: bool) -> None:
    served = place.backing / "sub" if deep else place.backing
    served.mkdir(exist_ok=True)
    (served / "f").write_text("content")
    there = Place(served, place.backing, place.log)
    with background(there):
        (there.point / "g").write_text((there.point / "f").read_text())
        assert sorted(path.name for path in there.point.iterdir()) == ["f", "g"]
    assert (served / "g").read_text() == "content"
