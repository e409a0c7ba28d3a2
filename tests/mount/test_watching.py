"""By default the mount sees what others do to the backing: the kernel's long beliefs are taken back."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Coherence, Record
from tests import loopfs
from tests.conftest import require
from tests.faulty.few_marks import MARKS
from tests.mount.ordinary import AS_NOBODY, nobodys_mount
from tests.mounted import FUSECOPY, Mounted, mounted

TURNS = int(os.environ.get("FUSECOPY_TEST_TURNS", "150"))
"""Turns of the two clients in each test; more by hand."""

SEED = int(os.environ.get("FUSECOPY_TEST_SEED", "1"))

ROOT = Path(__file__).parents[2]

FEW_MARKS = ROOT / "tests/faulty/few_marks.py"

QUEUE = 16384
"""Events that the kernel keeps for one group (fs.fanotify.max_queued_events)."""

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


def test_more_changes_than_the_queue_holds_lose_nothing(btrfs: Path, tmp_path: Path) -> None:
    """While the server does not read, others change more than the kernel keeps events of; afterwards all
    is asked anew, and the log says so."""
    require("fuse")
    backing = btrfs / tmp_path.name
    (backing / "d").mkdir(parents=True)
    for name in ("f", "d/g", "gone"):
        (backing / name).write_bytes(b"before")
    with mounted(backing) as mount:
        for name in ("f", "d/g", "gone"):
            assert (mount.path / name).read_bytes() == b"before"
        assert not (mount.path / "new").exists()
        os.listdir(mount.path)
        mount.process.send_signal(signal.SIGSTOP)
        try:
            for n in range(QUEUE + 100):
                (backing / f"many{n}").touch()
            (backing / "f").write_bytes(b"after")
            (backing / "other").write_bytes(b"after, too")
            (backing / "other").rename(backing / "d/g")
            (backing / "gone").unlink()
            (backing / "new").touch()
        finally:
            mount.process.send_signal(signal.SIGCONT)
        assert (mount.path / "f").read_bytes() == b"after"
        assert (mount.path / "d/g").read_bytes() == b"after, too"
        assert mount.attribute("coherence") == "watched"
        _await((mount.path / "new").exists)  # before Linux 6.16 after a second
        assert not (mount.path / "gone").exists()
        assert sorted(os.listdir(mount.path)) == sorted(os.listdir(backing))
        said = mount.records_until(lambda records: any(isinstance(one, Coherence) for one in records))
        assert "looked up again" in next(one.cause for one in said if isinstance(one, Coherence))


def test_what_lies_below_in_other_filesystems_is_watched_too(btrfs: Path, ext4: Path, tmp_path: Path) -> None:
    """A subvolume, a snapshot made meanwhile, and mounts of other filesystems that are there or come."""
    require("fuse")
    backing = btrfs / tmp_path.name
    backing.mkdir()
    loopfs.run("btrfs", "-q", "subvolume", "create", backing / "inner")
    (backing / "inner/f").write_bytes(b"one")
    elsewhere = ext4 / tmp_path.name
    elsewhere.mkdir()
    with ExitStack() as later, ExitStack() as stack:
        there = stack.enter_context(loopfs.mount(backing / "there", "--bind", str(elsewhere)))
        mount = stack.enter_context(mounted(backing))
        loopfs.run("btrfs", "-q", "subvolume", "snapshot", backing / "inner", backing / "snapshot")
        came = later.enter_context(loopfs.mount(backing / "came", "-t", "tmpfs", "none"))
        for place in (backing / "inner", backing / "snapshot", there, came):
            _check_seen(mount.path / place.relative_to(backing), place)
        assert mount.attribute("coherence") == "watched"
    for name in ("inner", "snapshot"):
        loopfs.run("btrfs", "-q", "subvolume", "delete", backing / name)


def _check_seen(here: Path, there: Path) -> None:
    (there / "f").write_bytes(b"one")
    assert (here / "f").read_bytes() == b"one"
    assert not (here / "new").exists()
    (there / "f").write_bytes(b"two and more")
    assert (here / "f").read_bytes() == b"two and more"
    (there / "g").write_bytes(b"another")
    (there / "g").rename(there / "f")
    assert (here / "f").read_bytes() == b"another"


def test_an_ordinary_user_has_subvolumes_watched(btrfs: Path, tmp_path: Path) -> None:
    with nobodys_mount(btrfs) as mount:
        inner = mount.backing / "inner"
        loopfs.run("btrfs", "-q", "subvolume", "create", inner)
        for place in (inner, mount.backing):
            shutil.chown(place, "nobody")
            (place / "f").write_bytes(b"one")
        command = f"cat {mount.path}/f {mount.path}/inner/f"
        assert as_nobody(command) == "oneone"
        for place in (inner, mount.backing):
            (place / "f").write_bytes(b"two, ")
        assert as_nobody(command) == "two, two, "
        assert "coherence   watched\n" in as_nobody(f"{FUSECOPY} status {mount.path}")
        loopfs.run("btrfs", "-q", "subvolume", "delete", inner)


def as_nobody(command: str) -> str:
    """What a command of the shell says that nobody runs."""
    done = subprocess.run([*AS_NOBODY, "sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_with_too_few_marks_the_rest_is_believed_for_a_second(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """And it is said, and so is when all is seen again."""
    require("fuse", "root", "loop")
    with _filesystem("overlay", request, tmp_path) as filesystem:
        backing = filesystem / "served"
        directories = [backing / f"d{n}" for n in range(5 * MARKS)]
        for directory in directories:
            directory.mkdir(parents=True)
            (directory / "f").write_bytes(b"one")
        with mounted(backing, prefix=(sys.executable, str(FEW_MARKS))) as mount:
            for directory in directories:
                assert (mount.path / directory.name / "f").read_bytes() == b"one"
                assert not (mount.path / directory.name / "new").exists()
            for directory in directories:
                (directory / "g").write_bytes(b"two and more")
                (directory / "g").rename(directory / "f")
                (directory / "new").touch()
            _await(lambda: all((mount.path / one.name / "new").exists() for one in directories))
            for directory in directories:
                assert (mount.path / directory.name / "f").read_bytes() == b"two and more"
            for directory in directories:
                shutil.rmtree(mount.path / directory.name)
            _await(lambda: mount.attribute("coherence") == "watched")
            said = mount.records_until(lambda records: "All changes are seen again." in _causes(records))
            few = [one for one in said if isinstance(one, Coherence) and "more are in use" in one.cause]
            assert few
            for one in few:
                assert re.fullmatch(r"watched, timeouts 1 s for \d+ inodes", one.coherence)


def _causes(found: list[Record]) -> list[str]:
    return [record.cause for record in found if isinstance(record, Coherence)]


def _await(done: Callable[[], bool], seconds: float = 20.0) -> None:
    """Ask again and again, for at most `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end


def test_a_directory_that_may_not_be_read_is_believed_for_a_second(btrfs: Path) -> None:
    with nobodys_mount(btrfs) as mount:
        hidden = mount.backing / "hidden"
        hidden.mkdir(mode=0o711)
        hidden.chmod(0o711)
        (hidden / "f").write_bytes(b"one")
        assert as_nobody(f"cat {mount.path}/hidden/f") == "one"
        assert "timeouts 1 s for" in as_nobody(f"{FUSECOPY} status {mount.path}")
        said = mount.records_until(lambda records: bool(_causes(records)))
        assert "may not read" in _causes(said)[0]
        (hidden / "f").write_bytes(b"two and more")
        _await(lambda: as_nobody(f"cat {mount.path}/hidden/f") == "two and more")


def test_what_sends_no_events_is_believed_for_a_second(btrfs: Path, tmp_path: Path) -> None:
    """Another mount of FUSE as the backing; all of it, so the whole mount says so."""
    require("fuse")
    backing, between = btrfs / tmp_path.name, tmp_path / "between"
    backing.mkdir()
    (backing / "f").write_bytes(b"one")
    with mounted(backing, mountpoint=between), mounted(between) as mount:
        assert mount.attribute("coherence") == "timeouts 1 s"
        assert (mount.path / "f").read_bytes() == b"one"
        said = mount.records_until(lambda records: bool(_causes(records)))
        assert "does not report all" in _causes(said)[0]
        shown = subprocess.run([FUSECOPY, "log", mount.path], capture_output=True, text=True, timeout=60)
        assert "coherence is now timeouts 1 s: Changes by others are not seen at once" in shown.stdout
        (backing / "f").write_bytes(b"two and more")
        _await(lambda: (mount.path / "f").read_bytes() == b"two and more")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--exclusive"], "none"), (["--coherent"], "timeouts 0 s"), (["-o", "timeout=5"], "timeouts 5 s")],
)
def test_status_says_what_is_in_force(btrfs: Path, tmp_path: Path, words: list[str], said: str) -> None:
    require("fuse")
    backing = btrfs / tmp_path.name
    backing.mkdir()
    with mounted(backing, *words) as mount:
        assert mount.attribute("coherence") == said
        status = subprocess.run([FUSECOPY, "status", mount.path], capture_output=True, text=True, timeout=60)
        assert f"coherence   {said}\n" in status.stdout


def test_a_thousand_directories_of_an_ordinary_user_are_watched(btrfs: Path) -> None:
    with nobodys_mount(btrfs) as mount:
        for n in range(1000):
            (mount.backing / f"d{n}").mkdir()
        assert as_nobody(f"ls {mount.path}/* | wc -l").strip() == "1999"
        assert "coherence   watched\n" in as_nobody(f"{FUSECOPY} status {mount.path}")
        for n in range(1000):
            (mount.backing / f"d{n}" / "f").touch()
        assert (
            as_nobody(f"{FUSECOPY} status {mount.path} >/dev/null; ls {mount.path}/*/f | wc -l").strip()
            == "1000"
        )
