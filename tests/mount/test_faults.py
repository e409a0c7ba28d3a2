"""Faults asked for in a mount: what programs meet, what the log tells, what the policy takes."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.loopfs import MIB
from tests.mount.sides import opened
from tests.mounted import mounted
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

SIZE = 6 * MIB


def cp(mount: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["cp", *words], cwd=mount, capture_output=True, text=True, timeout=60)


def test_what_a_program_meets_and_the_log_tells(btrfs: Path) -> None:
    backing = btrfs / "met"
    backing.mkdir()
    (backing / "a").write_bytes(noise(SIZE))
    with mounted(backing) as mount:
        mount.policy("fault=cifs-eio,path=refused fault=procfs-zero,path=none fault=nfsd-short-4m,path=short")
        done = cp(mount.path, "a", "refused")
        assert (done.returncode, "Input/output error" in done.stderr) == (1, True)
        assert cp(mount.path, "a", "short").returncode == 0
        assert cp(mount.path, "a", "other").returncode == 0
        assert asked(mount.path, "a", "none", SIZE) == 0
        assert (mount.path / "none").stat().st_size == 0
        refused, *short, other, none = mount.copies(5)
        assert (refused.dispatch, refused.errno) == ("refused", "EIO")
        assert refused.cause == "The fault cifs-eio,path=refused was asked for: EIO."
        assert [copy.copied for copy in short] == [4 * MIB, 2 * MIB]
        assert "The fault nfsd-short-4m,path=short was asked for" in (short[0].cause or "")
        assert (other.copied, other.shared, other.cause) == (SIZE, SIZE, None)
        assert (none.dst, none.copied) == ("none", 0)
        assert none.cause == "The fault procfs-zero,path=none was asked for: 0 before the end."
    for name in ("a", "short", "other"):
        assert (backing / name).read_bytes() == noise(SIZE), name


def asked(mount: Path, source: str, destination: str, length: int) -> int:
    """What one copy_file_range of our own returns."""
    writes = os.O_WRONLY | os.O_CREAT
    with opened(mount / source, os.O_RDONLY) as reading, opened(mount / destination, writes) as writing:
        return os.copy_file_range(reading, writing, length)


def test_a_count_of_32_bits(btrfs: Path) -> None:
    backing = btrfs / "wrapped"
    backing.mkdir()
    with (backing / "big").open("wb") as file:
        file.truncate((1 << 32) + 4096)
    with mounted(backing) as mount:
        mount.policy("fault=count-32bit")
        assert asked(mount.path, "big", "copy", (1 << 32) + 4096) == 4096
        (copy,) = mount.copies(1)
        assert copy.copied == (1 << 32) + 4096, "the log tells what was copied"
        assert "modulo 4 GiB" in (copy.cause or "")


@pytest.mark.slow
def test_the_kernel_copies_where_a_fault_declines(ext4: Path) -> None:
    backing = ext4 / "declining"
    backing.mkdir()
    (backing / "a").write_bytes(noise(SIZE))
    with mounted(backing) as mount:
        mount.policy("fault=nfs-eopnotsupp,every=2")
        for number in range(3):
            assert cp(mount.path, "a", f"b{number}").returncode == 0
        assert "fallback" in {copy.dispatch for copy in mount.copies(3)}
    for number in range(3):
        assert (backing / f"b{number}").read_bytes() == noise(SIZE)


@pytest.mark.slow
def test_a_late_copy(btrfs: Path) -> None:
    """The program waits, others do not, and a signal ends it."""
    backing = btrfs / "late"
    backing.mkdir()
    (backing / "a").write_bytes(noise(SIZE))
    with mounted(backing) as mount:
        mount.policy("fault=nfs-copy-hangs,seconds=60,path=b")
        with subprocess.Popen(["cp", "a", "b"], cwd=mount.path) as late:
            assert cp(mount.path, "a", "c").returncode == 0
            assert late.poll() is None
            begun = time.monotonic()
            late.terminate()
            late.wait(30)
        assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fault=no-such-fault", "no-such-fault: no such fault"),
        ("fault=ficlone-einval", "never comes to a mount's server"),
        ("fault=cifs-eio decline=exdev", "leaves none to faults"),
        ("fault=cifs-eio,every=0", "'0' is not a count"),
    ],
)
def test_words_without_meaning(btrfs: Path, words: str, said: str) -> None:
    with mounted(btrfs) as mount:
        done = run("policy", mount.path, *words.split())
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert "fault" not in mount.attribute("policy")


def test_rules_are_shown_and_taken_back(btrfs: Path) -> None:
    with mounted(btrfs) as mount:
        run("policy", mount.path, "fault=cifs-eio,every=3", "fault=short-2g")
        assert mount.attribute("policy").endswith(" fault=cifs-eio,every=3 fault=short-2g")
        assert run("policy", mount.path, "refuse=EPERM").returncode == 2
        run("policy", mount.path, "fault=")
        assert "fault" not in mount.attribute("policy")
