"""`fusecopy check-server` says of servers what is known of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusecopy.errors import Exit
from tests import loopfs, peers
from tests.cli.commands import run
from tests.conftest import require
from tests.mounted import mounted
from tests.tracepoints import tracefs_mounted

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

RULES = [
    "first copies", "offload", "asked again", "copied once", "counts", "ranges", "end of file", "one file",
    "fresh data", "attributes", "blocks", "holes", "4 GiB offsets", "setuid",
]  # fmt: skip

FAULTY = (sys.executable, str(Path(__file__).parent.parent / "faulty" / "server.py"), "--foreign")


@pytest.fixture
def backing(btrfs: Path, tmp_path: Path) -> Iterator[Path]:
    directory = btrfs / tmp_path.name
    directory.mkdir()
    yield directory
    assert list(directory.iterdir()) == [], "something of the check is left"
    directory.rmdir()


def checked(mount: Path, *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The status, and of each rule the state and what was found."""
    done = run("check-server", "--json", *words, mount)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        print(f"{line['name']:15}{line['state']:8}{line['found']}: {line['seen']}")
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, {line["name"]: (line["state"], line["found"]) for line in lines}


def not_ok(found: dict[str, tuple[str, str]]) -> set[str]:
    return {name for name, (state, _) in found.items() if state != "ok"}


@contextmanager
def served(point: Path, *command: str | Path) -> Iterator[Path]:
    """A mount by a server that goes to the background when it is ready."""
    point.mkdir()
    subprocess.run([*command, point], check=True, timeout=60)
    try:
        yield point
    finally:
        loopfs.run("umount", point)
        point.rmdir()


def test_ours_is_right(backing: Path) -> None:
    with tracefs_mounted(), mounted(backing) as mount:
        require("tracefs")
        status, found = checked(mount.path, "--large")
    assert (status, not_ok(found), list(found)) == (0, set(), [*RULES, "4 GiB counts"])
    assert "COPY_FILE_RANGE_64: a count" in found["offload"][1]
    assert "kept" in found["holes"][1]


def test_one_that_copies_and_denies_it(backing: Path) -> None:
    """And says ENOSYS, after which the kernel does not ask again."""
    with tracefs_mounted(), mounted(backing, prefix=FAULTY) as mount:
        require("tracefs")
        status, found = checked(mount.path, "--large")
    assert status == Exit.SERVER_CHECK
    assert not_ok(found) == {"offload", "asked again", "copied once", "4 GiB counts"}
    assert "copied, then said that it had not" in found["copied once"][1]
    assert "ENOSYS" in found["asked again"][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "wrong"),
    [
        ("decline=eopnotsupp", {"offload"}),
        ("fault=zero-after-16m", {"counts", "holes", "4 GiB offsets", "4 GiB counts"}),
        ("fault=cifs-eio", {"offload", "counts", "ranges"}),
        ("fault=count-32bit", {"4 GiB counts"}),
    ],
)
def test_what_a_mount_was_told_to_do_wrong(backing: Path, policy: str, wrong: set[str]) -> None:
    with mounted(backing) as mount:
        mount.policy(policy)
        status, found = checked(mount.path, "--large")
    assert status == Exit.SERVER_CHECK
    assert wrong <= not_ok(found)
    if policy != "fault=cifs-eio":
        assert not_ok(found) <= wrong | {"4 GiB counts", "asked again"}


SWITCHED_OFF = {"first copies", "offload", "asked again"}
"""Where libfuse before 3.18 meets Linux 6.18: some of the first copies had ENOSYS at the same moment."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "known"),
    [
        ("passthrough_ll", [set(), SWITCHED_OFF]),
        ("mergerfs", [set(), SWITCHED_OFF]),
        ("bindfs", [{"offload", "asked again"}]),
    ],
)
def test_others(backing: Path, tmp_path: Path, program: str, known: list[set[str]]) -> None:
    require(program)
    commands: dict[str, list[str | Path]] = {
        "passthrough_ll": [peers.passthrough_ll() or "", "-o", f"source={backing}"],
        "mergerfs": ["mergerfs", "-o", "minfreespace=0", backing],
        "bindfs": ["bindfs", backing],
    }
    with tracefs_mounted(), served(tmp_path / "point", *commands[program]) as point:
        require("tracefs")
        status, found = checked(point)
    wrong = {name for name, (state, _) in found.items() if state == "not ok"}
    assert wrong in known
    assert status == (Exit.SERVER_CHECK if wrong else 0)


def test_what_is_no_fuse_mount(backing: Path) -> None:
    done = run("check-server", backing)
    assert (done.returncode, "btrfs, not a FUSE filesystem" in done.stderr) == (Exit.MOUNT_POINT, True)


def test_a_server_that_cannot_be_written(backing: Path, tmp_path: Path) -> None:
    with mounted(backing, "-o", "ro") as mount:
        done = run("check-server", mount.path)
    assert (done.returncode, "Read-only file system" in done.stderr) == (1, True), done.stderr
