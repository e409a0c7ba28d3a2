"""Copies that the server does not carry: declined to the kernel's splice, refused, or by reflink only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Flow, Requests
from fusecopy.filesystem.policy import parse
from tests.loopfs import MIB, run
from tests.mounted import Mounted, mounted
from tests.reflink.files import noise
from tests.tracepoints import COPY, COPY_64, READ, WRITE, traced

pytestmark = [pytest.mark.fuse, pytest.mark.loop]

SIZE = 8 * MIB
SPLICED_WRITES = SIZE // 65536


def check_fallback(copy: Copy, copies: int, reads: int) -> None:
    """The record of SIZE bytes that the kernel moved."""
    assert (copy.comm, copy.src, copy.dispatch, copy.driver) == ("cp", "a", "fallback", "copy_file_range")
    assert (copy.path, copy.paths) == ("kernel-splice", {"kernel-splice": SIZE})
    assert (copy.length, copy.copied) == (SIZE, SIZE)
    assert (copy.shared, copy.rewritten, copy.proof, copy.errno) == (0, SIZE, "written", None)
    assert copy.requests == Requests(copies, reads, copy.requests.read_bytes, SPLICED_WRITES, SIZE)
    assert copy.requests.read_bytes >= SIZE


@pytest.mark.parametrize("errno", ["eopnotsupp", "exdev"])
def test_declined_copy_is_done_by_the_kernel_and_asked_again(sharing_backing: Path, errno: str) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing, "--decline", errno) as mount, traced(mount.connection) as trace:
        for number in (1, 2):
            before = trace.requests()
            run("cp", mount.path / "a", mount.path / f"b{number}")
            copy = mount.copies(number)[-1]
            requests = trace.requests() - before
            assert (requests[COPY_64] + requests[COPY], requests[WRITE]) == (1, SPLICED_WRITES)
            check_fallback(copy, copies=1, reads=requests[READ])
            assert copy.cause == f"The mount's policy declines every copy with {errno.upper()}."
        mount.policy("decline=")
        run("cp", mount.path / "a", mount.path / "b3")
        assert mount.copies(3)[-1].dispatch == "dispatched"
    for number in (1, 2, 3):
        assert (sharing_backing / f"b{number}").read_bytes() == noise(SIZE)


def test_enosys_is_for_good_and_later_copies_are_told_by_their_system_call(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing, "--decline", "enosys") as mount, traced(mount.connection) as trace:
        run("cp", mount.path / "a", mount.path / "b1")
        first = trace.requests()
        # From Linux 6.18 on ENOSYS to opcode 53 makes the kernel ask once more, with 47.
        assert first[COPY] == 1
        check_fallback(mount.copies(1)[0], copies=trace.copies(), reads=first[READ])
        mount.policy("decline=")
        run("cp", mount.path / "a", mount.path / "b2")
        second = mount.copies(2)[1]
        later = trace.requests() - first
        assert later[COPY] + later[COPY_64] == 0
        check_fallback(second, copies=0, reads=later[READ])
        assert "ENOSYS" in (second.cause or "")
    assert (sharing_backing / "b2").read_bytes() == noise(SIZE)


def test_copy_between_two_mounts_is_not_asked_of_either(sharing_backing: Path) -> None:
    one, two = sharing_backing / "one", sharing_backing / "two"
    one.mkdir()
    two.mkdir()
    (one / "a").write_bytes(noise(SIZE))
    with mounted(one) as source, mounted(two) as target:
        run("mv", source.path / "a", target.path / "b")
        [copy] = target.copies(1)
        assert source.attribute("stats").find('"copies": {}') > 0
        assert copy.src == str(source.path / "a")
    assert (copy.comm, copy.dst, copy.dispatch, copy.path) == ("mv", "b", "fallback", "kernel-splice")
    assert (copy.copied, copy.shared, copy.rewritten) == (SIZE, 0, SIZE)
    assert copy.requests == Requests(0, 0, 0, SPLICED_WRITES, SIZE)
    assert "another mount" in (copy.cause or "")
    assert (two / "b").read_bytes() == noise(SIZE)
    assert not (one / "a").exists()


def test_two_sources_declined_into_one_file_are_two_records(sharing_backing: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        (sharing_backing / name).write_bytes(noise(MIB, seed))
    with mounted(sharing_backing, "--decline", "exdev") as mount:
        with (mount.path / "c").open("wb", buffering=0) as c:
            c.write(b"head")
            for name in ("a", "b"):
                with (mount.path / name).open("rb") as source:
                    assert os.copy_file_range(source.fileno(), c.fileno(), MIB) == MIB
        copies = mount.copies(2)
        records = mount.records_until(lambda found: any(isinstance(record, Flow) for record in found))
        [flow] = [record for record in records if isinstance(record, Flow)]
        assert flow.requests == Requests(writes=1, write_bytes=4)
    assert [(copy.src, copy.off_out, copy.copied) for copy in copies] == [("a", 4, MIB), ("b", 4 + MIB, MIB)]
    assert [copy.requests.write_bytes for copy in copies] == [MIB, MIB]
    assert (sharing_backing / "c").read_bytes() == b"head" + noise(MIB, 1) + noise(MIB, 2)


def attempt_cp(mount: Mounted) -> "subprocess.CompletedProcess[str]":
    """cp a b, which is expected to fail."""
    return subprocess.run(
        ["cp", mount.path / "a", mount.path / "b"], capture_output=True, text=True, timeout=30
    )


def test_refused_copy_fails_in_the_program(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing, "--refuse", "EIO") as mount:
        failed = attempt_cp(mount)
        [copy] = mount.copies(1)
    assert failed.returncode == 1
    assert failed.stderr.endswith("Input/output error\n")
    assert (copy.dispatch, copy.errno, copy.path, copy.copied) == ("refused", "EIO", "-", 0)
    assert (copy.shared, copy.rewritten, copy.requests) == (0, 0, Requests(copies=1))
    assert "refuses every copy with EIO" in (copy.cause or "")
    assert (sharing_backing / "b").read_bytes() == b""


def test_strict_mount_shares_or_fails(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing, "--strict") as mount:
        run("cp", mount.path / "a", mount.path / "c")
        with (
            (mount.path / "a").open("rb") as a,
            (mount.path / "b").open("wb") as b,
            pytest.raises(OSError, match="Input/output error"),
        ):
            os.copy_file_range(a.fileno(), b.fileno(), 70_000)
        first, second = mount.copies(2)
    assert (first.dispatch, first.path, first.shared) == ("dispatched", "reflink", SIZE)
    assert (second.dispatch, second.errno, second.copied) == ("refused", "EINVAL", 0)
    assert "block" in (second.cause or "")
    assert (sharing_backing / "b").read_bytes() == b""


def test_strict_mount_of_ext4_fails_cp(ext4: Path) -> None:
    directory = ext4 / "strict"
    directory.mkdir()
    (directory / "a").write_bytes(noise(SIZE))
    with mounted(directory, "--strict") as mount:
        failed = attempt_cp(mount)
        [copy] = mount.copies(1)
    assert (failed.returncode, (directory / "b").read_bytes()) == (1, b"")
    assert (copy.dispatch, copy.errno) == ("refused", "EOPNOTSUPP")
    assert "ext4" in (copy.cause or "")


def test_ladder_of_reflink_alone_is_declined_and_told_as_a_fallback(ext4: Path) -> None:
    directory = ext4 / "only"
    directory.mkdir()
    (directory / "a").write_bytes(noise(SIZE))
    with mounted(directory, "--paths", "reflink") as mount:
        run("cp", mount.path / "a", mount.path / "b")
        [copy] = mount.copies(1)
    check_fallback(copy, copies=1, reads=copy.requests.reads)
    assert [(a.path, a.carried, a.errno) for a in copy.attempts] == [("reflink", 0, "EOPNOTSUPP")]
    assert "ext4" in (copy.cause or "")
    assert (directory / "b").read_bytes() == noise(SIZE)


def test_ordinary_user_is_declined_and_still_gets_the_copy(sharing_backing: Path) -> None:
    """The caller's system call can be told to a server of the same user."""
    os.chmod(sharing_backing, 0o777)
    (sharing_backing / "a").write_bytes(noise(SIZE))
    copy = "import os, sys; os.sendfile(os.open(sys.argv[2], 65, 0o644), os.open(sys.argv[1], 0), 0, 1 << 30)"
    nobody = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
    with mounted(sharing_backing, "-o", "allow_other") as mount:
        run(*nobody, sys.executable, "-c", copy, mount.path / "a", mount.path / "b")
        [record] = mount.copies(1)
    assert (record.dispatch, record.driver, record.uid) == ("bypassed", "sendfile", 65534)
    assert (sharing_backing / "b").stat().st_uid == 65534


def test_policy_is_shown_as_it_is_read() -> None:
    for words in ("paths=reflink,splice strict", "paths=dedupe decline=exdev", "paths=splice refuse=EIO"):
        assert str(parse(words)) == words
