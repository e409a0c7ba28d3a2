"""Which lane looks up, opens and creates: as the server's own user no program waits for Python's lock."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.sides import NOBODY, as_caller, opened
from tests.mounted import NATIVE_LANE, Mounted, mounted

COUNT = 13

pytestmark = pytest.mark.skipif(not NATIVE_LANE, reason="about what the native lane answers")


@pytest.fixture
def mount(sharing_backing: Path) -> Iterator[Mounted]:
    with mounted(sharing_backing, "-o", "allow_other") as mount:
        yield mount


def lanes(mount: Mounted) -> dict[str, tuple[int, int]]:
    """Requests so far, answered natively and by Python."""
    found = json.loads(mount.attribute("stats"))["lanes"]
    return {name: (native, python) for name, (native, python) in found.items()}


def test_ordinary_files(mount: Mounted) -> None:
    for number in range(COUNT):
        place = mount.path / f"d{number}"
        place.mkdir(0o750)
        (place / "f").write_bytes(b"hello")
        assert (place / "f").read_bytes() == b"hello"
        with opened(place / "f", os.O_WRONLY | os.O_TRUNC) as fd:
            os.write(fd, b"again")
        assert (mount.backing / f"d{number}" / "f").read_bytes() == b"again"
        assert not (place / "g").exists()
        (place / "f").unlink()
        place.rmdir()
    found = lanes(mount)
    for name in ("MKDIR", "CREATE"):
        assert found[name] == (COUNT, 0), name
    assert found["OPEN"] == (2 * COUNT, 0)
    assert found["LOOKUP"][1] == 0
    assert found["RELEASE"][1] == 0
    assert found["RELEASE"][0] in range(3 * COUNT - 1, 3 * COUNT + 1)  # the last may be on its way


def test_names_that_were_there_before(mount: Mounted) -> None:
    for number in range(COUNT):
        (mount.backing / f"f{number}").write_bytes(b"there")
    for number in range(COUNT):
        assert (mount.path / f"f{number}").stat().st_size == 5
    assert lanes(mount)["LOOKUP"] == (COUNT, 0)


def test_another_users_files_are_created_in_their_name(mount: Mounted) -> None:
    """By Python, which looks up the groups: a setgid directory's group is kept for those who are in it."""
    os.chmod(mount.path, 0o777)
    os.chown(mount.path, 0, NOBODY)

    def create(_: Path) -> None:
        os.mkdir("theirs")
        os.close(os.open("theirs/f", os.O_WRONLY | os.O_CREAT, 0o600))

    assert as_caller(mount.path, create) is None
    theirs = os.stat(mount.backing / "theirs" / "f")
    assert (theirs.st_uid, theirs.st_gid, theirs.st_mode & 0o7777) == (NOBODY, NOBODY, 0o600)
    found = lanes(mount)
    assert (found["MKDIR"], found["CREATE"]) == ((0, 1), (0, 1))


def test_the_umask_and_what_is_there_already(mount: Mounted) -> None:
    before = os.umask(0o027)
    try:
        os.close(os.open(mount.path / "f", os.O_WRONLY | os.O_CREAT, 0o666))
        os.mkdir(mount.path / "d", 0o777)
    finally:
        os.umask(before)
    assert os.stat(mount.backing / "f").st_mode & 0o7777 == 0o640
    assert os.stat(mount.backing / "d").st_mode & 0o7777 == 0o750
    with pytest.raises(FileExistsError):
        os.mkdir(mount.path / "d")
    (mount.backing / "new").write_bytes(b"by another")
    with pytest.raises(FileExistsError):
        os.open(mount.path / "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    (mount.path / "d" / "x").touch()
    with pytest.raises(OSError, match="not empty"):
        os.rmdir(mount.path / "d")
    shutil.rmtree(mount.path / "d")
