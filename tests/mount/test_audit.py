"""fusecopy audit: what agrees, and servers that do not tell the truth."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopfs import MIB
from tests.mounted import FUSECOPY, Mounted, mounted
from tests.observe.tracing import fill, run, tracefs

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop, pytest.mark.usefixtures("tracefs")]

__all__ = ["tracefs"]

FAULTY = str(Path(__file__).parents[1] / "faulty" / "server.py")

WORKLOAD = """
M=$1
for i in 1 2 3 4 5 6 7 8 9 10 11; do cp $M/a $M/auto$i; done
for i in 1 2 3; do cp --reflink=never $M/a $M/never$i; done
for i in 1 2 3 4 5; do cp $M/a $M/at-once$i & done; wait
for i in 1 2; do dd if=$M/a of=$M/dd$i bs=128K status=none; done
cp $M/unaligned $M/unaligned1
cat $M/a > $M/cat
"""
"""11 + 3 + 5 + 2 + 1 + 1 = 23 copies."""


@pytest.fixture
def backing(btrfs: Path, request: pytest.FixtureRequest) -> Path:
    directory = btrfs / str(request.node.name).replace("[", "-").rstrip("]")
    directory.mkdir()
    fill(directory / "a", MIB)
    fill(directory / "unaligned", 70_000)
    return directory


@pytest.fixture
def mount(backing: Path) -> Iterator[Mounted]:
    with mounted(backing) as made:
        yield made


def test_23_copies_agree_on_all_sides(mount: Mounted) -> None:
    done = run("audit", ["sh", "-c", WORKLOAD, "sh", mount.path], points=[mount.path])
    assert done.stderr.splitlines() == [
        "23 copies",
        "bytes written: 5 agree, 0 disagree, 0 could not be checked",
        "kernel and server: 18 agree, 0 disagree, 0 could not be checked",
        "program and kernel: 18 agree, 0 disagree, 0 could not be checked",
        "server and extents: 18 agree, 0 disagree, 0 could not be checked",
    ]
    assert done.returncode == 0


def test_fallbacks_agree(mount: Mounted) -> None:
    mount.policy("decline=eopnotsupp")
    done = run("audit", ["sh", "-c", WORKLOAD, "sh", mount.path], points=[mount.path])
    assert done.stderr.splitlines() == [
        "23 copies",
        "bytes written: 23 agree, 0 disagree, 0 could not be checked",
        "kernel and server: 18 agree, 0 disagree, 0 could not be checked",
        "program and kernel: 18 agree, 0 disagree, 0 could not be checked",
    ]
    assert done.returncode == 0


def test_many_open_files_in_turn_agree(mount: Mounted) -> None:
    """One thread goes back and forth between pairs of files that stay open, each copied in three calls."""
    mount.policy("decline=exdev")
    program = (
        "import os, sys\n"
        "pairs = [(os.open(sys.argv[1] + '/a', 0), os.open(f'{sys.argv[1]}/{i}', os.O_CREAT | os.O_RDWR))"
        " for i in range(5)]\n"
        "for _ in range(3):\n"
        "    for a, b in pairs: assert os.copy_file_range(a, b, 300_000) == 300_000\n"
    )
    done = run("audit", [sys.executable, "-c", program, mount.path], points=[mount.path])
    assert done.stderr.splitlines() == [
        "15 copies",
        "bytes written: 1 agree, 0 disagree, 0 could not be checked",
        "kernel and server: 15 agree, 0 disagree, 0 could not be checked",
        "program and kernel: 15 agree, 0 disagree, 0 could not be checked",
    ]
    assert done.returncode == 0


def test_mapped_pages_agree_although_the_kernel_writes_them(mount: Mounted) -> None:
    program = (
        "import mmap, os, sys\n"
        "b = os.open(sys.argv[1] + '/mapped', os.O_CREAT | os.O_RDWR)\n"
        "os.truncate(b, 1 << 20)\n"
        "with mmap.mmap(b, 1 << 20) as pages: pages[:] = bytes(1 << 20)\n"
    )
    done = run("audit", [sys.executable, "-c", program, mount.path], points=[mount.path])
    assert done.stderr.splitlines() == [
        "1 copy",
        "bytes written: 1 agree, 0 disagree, 0 could not be checked",
    ]
    assert done.returncode == 0


def test_refusals_agree_and_the_status_is_the_commands(mount: Mounted) -> None:
    mount.policy("refuse=ENOSPC")
    done = run("audit", ["cp", mount.path / "a", mount.path / "b"], points=[mount.path])
    assert "kernel and server: 1 agree, 0 disagree" in done.stderr
    assert "program and kernel: 1 agree, 0 disagree" in done.stderr
    assert "No space left on device" in done.stderr
    assert done.returncode == 1
    gone = run("audit", ["sh", "-c", f"cp {mount.path}/a {mount.path}/b; exit 7"], points=[mount.path])
    assert gone.returncode == 7


def test_a_foreign_server_that_copies_and_denies_it_is_found(backing: Path) -> None:
    with mounted(backing, prefix=(sys.executable, FAULTY, "--foreign")) as mount:
        done = run("audit", ["cp", mount.path / "a", mount.path / "b"], points=[mount.path])
    assert done.returncode == 1
    found = [line for line in done.stderr.splitlines() if line.startswith("disagreement: ")]
    words = r"disagreement: cp\[\d+\] copy_file_range in \S+: copied twice: the server made the copy"
    wrote = f"; afterwards {MIB} bytes were written by the kernel"
    assert [re.sub(words, "TWICE", line) for line in found] == [
        "TWICE (ioctl FICLONERANGE -> 0) and then answered COPY_FILE_RANGE_64 with ENOSYS" + wrote,
        "TWICE (ioctl FICLONERANGE -> 0) and then answered COPY_FILE_RANGE with ENOSYS" + wrote,
    ]
    assert "program and kernel: 1 agree, 0 disagree, 0 could not be checked" in done.stderr


def test_a_log_that_does_not_say_what_the_kernel_did_is_found(backing: Path) -> None:
    with mounted(backing, prefix=(sys.executable, FAULTY)) as mount:
        done = run("audit", ["cp", mount.path / "a", mount.path / "b"], points=[mount.path])
    assert done.returncode == 1
    assert (
        f"fallback, {MIB} bytes, 2 copy requests against dispatched, {MIB} bytes, 1 copy requests"
        in done.stderr
    )


def test_shares_that_are_broken_since_are_found(mount: Mounted) -> None:
    """The file is rewritten on the backing and its time set back: only the extents tell. Who does so to an
    exclusive backing waits for the proof: what the mount says of the copy comes after it."""
    rewrite = (
        "dd if=/dev/urandom of={0} bs=64K count=1 conv=notrunc,fsync status=none && touch -r {1} {0}"
    ).format(mount.backing / "b", mount.backing / "a")
    proven = f"getfattr -n user.fusecopy.copy {mount.path}/b > /dev/null"
    command = f"cp {mount.path}/a {mount.path}/b && {proven} && {rewrite}"
    done = run("audit", ["sh", "-c", command], points=[mount.path])
    assert f"{MIB} bytes shared against {MIB - 65536} bytes shared" in done.stderr
    assert done.returncode == 1


def test_files_changed_since_are_not_judged(mount: Mounted) -> None:
    command = f"cp {mount.path}/a {mount.path}/b && rm {mount.path}/b"
    done = run("audit", ["sh", "-c", command], points=[mount.path])
    assert "server and extents: 0 agree, 0 disagree, 1 could not be checked" in done.stderr
    assert done.returncode == 0


def test_lost_events_are_no_agreement(mount: Mounted) -> None:
    """While the tracer is stopped nobody takes the events out of its buffer of one page."""
    mount.policy("decline=eopnotsupp")
    fill(mount.backing / "big", 64 * MIB)
    command = f"kill -STOP $PPID; cp {mount.path}/big {mount.path}/b; kill -CONT $PPID"
    done = run("audit", ["sh", "-c", command], points=[mount.path], options=["--buffer", "4"])
    assert re.search(r"^lost: [1-9]\d* events of the kernel were lost", done.stderr, re.MULTILINE)
    assert done.returncode == 1


def test_a_clone_served_by_run_cannot_be_checked_but_is_no_disagreement(mount: Mounted) -> None:
    served: list[str | Path] = [
        FUSECOPY,
        "run",
        "cp",
        "--reflink=always",
        mount.path / "a",
        mount.path / "clone",
    ]
    done = run("audit", served, points=[mount.path])
    assert "kernel and server: 0 agree, 0 disagree, 1 could not be checked" in done.stderr
    assert "served by an ioctl of fusecopy's own, no tracepoint shows it" in done.stderr
    assert done.returncode == 0
