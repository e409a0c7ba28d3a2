"""Mounts with kernel passthrough: what they hide and say so, what the kernel does not take, who may."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy, Header
from tests import loopfs
from tests.cli.commands import NOBODY, place
from tests.cli.commands import run as fusecopy
from tests.clone.running import said, served
from tests.conftest import require
from tests.loopfs import MIB, run
from tests.mount.ordinary import fuse_for_all
from tests.mount.sides import data_requests, opened
from tests.mounted import Mounted, mounted
from tests.observe import tracing
from tests.observe.tracing import tracefs
from tests.reflink.files import noise

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

__all__ = ["tracefs"]

SIZE = 8 * MIB

COPY_SEND_AND_READ = """
cd $1
cp a copied
python3 -c 'import os; os.sendfile(os.open("sent", 65, 0o644), os.open("a", 0), 0, 1 << 30)'
dd if=a of=read bs=1M status=none
"""


@pytest.fixture
def mount(sharing_backing: Path) -> Iterator[Mounted]:
    """A mount with passthrough that has a file `a`."""
    (sharing_backing / "a").write_bytes(noise(SIZE))
    os.sync()
    with mounted(sharing_backing, "--passthrough") as made:
        yield made


def headers(mount: Mounted) -> list[Header]:
    return [record for record in current(mount.log) if isinstance(record, Header)]


# ---- what is hidden ----------------------------------------------------------------------------------


def check_unseen(copy: Copy, cause: str) -> None:
    """The record of SIZE bytes that the kernel moved from backing to backing."""
    assert (copy.comm, copy.src, copy.length, copy.dispatch) == ("cp", "a", SIZE, "fallback")
    assert (copy.copied, copy.shared, copy.rewritten) == (None, None, None)
    assert (copy.path, copy.paths, copy.proof) == ("kernel-splice", {}, "unprovable")
    assert (copy.requests.copies, copy.requests.reads, copy.requests.writes) == (1, 0, 0)
    assert cause in (copy.cause or "")
    assert (copy.cause or "").endswith("the kernel moves the bytes from file to file, unseen.")


def test_what_a_declined_copy_moved_is_not_known(mount: Mounted) -> None:
    mount.policy("decline=exdev")
    run("cp", mount.path / "a", mount.path / "b")
    [copy] = mount.copies(1)
    assert data_requests(mount) == 0
    check_unseen(copy, "The mount's policy declines every copy with EXDEV.")
    assert (mount.backing / "b").read_bytes() == noise(SIZE)
    shown = fusecopy("log", mount.path).stdout.splitlines()
    assert shown[1] == ("  passthrough: the kernel reads and writes by itself; only copy requests are seen")
    assert shown[3].split()[3:7] == ["?", "fallback", "kernel-splice", "?"]
    sums = fusecopy("log", "-c", mount.path).stdout
    assert sums.splitlines()[1].split()[:7] == ["fallback", "kernel-splice", "1", "8.0M", "0+", "0+", "1"]
    assert "passthrough: " in sums
    story = fusecopy("explain", mount.path / "b").stdout
    assert "copied     unknown, of 8388608 bytes\n" in story
    assert "shared     unknown\n" in story
    assert "its own splice (unseen)" in " ".join(story.split())
    assert "passthrough yes\n" in fusecopy("status", mount.path).stdout


def test_what_a_copy_beyond_the_ladder_moved_is_not_known(ext4: Path) -> None:
    directory = ext4 / "passthrough-unseen"
    directory.mkdir()
    (directory / "a").write_bytes(noise(SIZE))
    with mounted(directory, "--passthrough", "--paths", "reflink") as mount:
        run("cp", mount.path / "a", mount.path / "b")
        [copy] = mount.copies(1)
    check_unseen(copy, "ext4")
    assert [attempt.errno for attempt in copy.attempts] == ["EOPNOTSUPP"]
    assert (directory / "b").read_bytes() == noise(SIZE)


def test_a_copy_request_is_served_and_all_else_leaves_no_record(mount: Mounted) -> None:
    run("sh", "-c", COPY_SEND_AND_READ, "sh", mount.path)
    run("cp", mount.path / "a", mount.path / "last")
    first, last = mount.copies(2)
    assert [(copy.dst, copy.path, copy.shared) for copy in (first, last)] == [
        ("copied", "reflink", SIZE),
        ("last", "reflink", SIZE),
    ]
    assert last.seq == 2
    assert [header.passthrough for header in headers(mount)] == [True]
    assert data_requests(mount) == 0
    for name in ("copied", "sent", "read"):
        assert (mount.backing / name).read_bytes() == noise(SIZE)


@pytest.mark.usefixtures("tracefs")
def test_audit_and_trace_say_what_they_cannot_see(mount: Mounted) -> None:
    unseen = f"{mount.path}: passthrough, so reads, writes, sendfile and splice send no requests"
    workload: list[str | Path] = ["sh", "-c", COPY_SEND_AND_READ, "sh", mount.path]
    done = tracing.run("audit", workload, points=[mount.path])
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        [
            "2 copies",
            "kernel and server: 1 agree, 0 disagree, 0 could not be checked",
            "program and kernel: 1 agree, 0 disagree, 0 could not be checked",
            "reads and writes: 0 agree, 0 disagree, 1 could not be checked",
            "server and extents: 1 agree, 0 disagree, 0 could not be checked",
            f"not checked: {unseen}",
        ],
    )
    mount.policy("decline=exdev")
    done = tracing.run("audit", ["cp", mount.path / "a", mount.path / "b"], points=[mount.path])
    assert done.returncode == 0
    assert "disagreement" not in done.stderr
    assert "kernel and server: 0 agree, 0 disagree, 1 could not be checked\n" in done.stderr
    assert "program and kernel: 0 agree, 0 disagree, 1 could not be checked\n" in done.stderr
    done = tracing.run("trace", ["cp", mount.path / "a", mount.path / "b"], points=[mount.path])
    assert "    server: fallback, kernel-splice, unknown how much, " in done.stderr
    assert done.stderr.splitlines()[-1] == unseen


def test_an_ordinary_mount_says_that_it_sees_all(sharing_backing: Path) -> None:
    with mounted(sharing_backing) as mount:
        assert mount.attribute("passthrough") == "no"
        mount.policy("strict")
        mount.policy("nostrict")
        assert "passthrough" not in fusecopy("log", mount.path).stdout
        assert [header.passthrough for header in headers(mount)] == [False]


# ---- other ways --------------------------------------------------------------------------------------


def test_without_the_native_lane(sharing_backing: Path) -> None:
    (sharing_backing / "a").write_bytes(noise(SIZE))
    with mounted(sharing_backing, "--passthrough", "--no-native-lane") as mount:
        run("cp", mount.path / "a", mount.path / "b")
        assert (mount.path / "b").read_bytes() == noise(SIZE)
        (mount.path / "c").write_bytes(b"written")
        with opened(mount.path / "c", os.O_RDWR) as fd:
            assert os.pread(fd, 9, 0) == b"written"
        assert mount.copies(1)[0].path == "reflink"
        assert data_requests(mount) == 0


def test_clones_under_fusecopy_run(mount: Mounted) -> None:
    require("seccomp")
    (mount.path / "b").write_bytes(b"cached" * 1000)
    with opened(mount.path / "b", os.O_RDWR) as fd:
        assert said(served("cp", "--reflink=always", "a", "b", cwd=mount.path)) == ""
        assert (os.pread(fd, SIZE, 0), os.fstat(fd).st_size) == (noise(SIZE), SIZE)
    [copy] = mount.copies(1)
    assert (copy.asked, copy.dispatch, copy.shared) == ("FICLONE", "dispatched", SIZE)


def test_few_descriptors(sharing_backing: Path) -> None:
    """Descriptors of inodes are closed and opened again; those of open files are the server's own, and what
    the kernel holds of them is not counted against its limit."""
    for number in range(400):
        (sharing_backing / f"f{number}").write_bytes(b"%d" % number)
    few = ("prlimit", "--nofile=300", "--")
    with mounted(sharing_backing, "--passthrough", prefix=few) as mount:
        for number in range(400):
            with opened(mount.path / f"f{number}", os.O_RDWR) as fd:
                assert os.pread(fd, 9, 0) == b"%d" % number
        held = [os.open(mount.path / f"f{number}", os.O_RDONLY) for number in range(100)]
        assert [os.pread(fd, 9, 0) for fd in held] == [b"%d" % number for number in range(100)]
        for fd in held:
            os.close(fd)
        assert data_requests(mount) == 0


# ---- what the kernel does not take -------------------------------------------------------------------


def test_a_filesystem_mounted_below_the_backing(btrfs: Path) -> None:
    require("fuse", "root", "loop")
    backing = btrfs / "passthrough-nested"
    (backing / "d").mkdir(parents=True)
    with loopfs.mount(backing / "inner", "-t", "tmpfs", "none"):
        for name in ("d", "inner"):
            (backing / name / "f").write_text(name)
        with mounted(backing, "--passthrough") as mount:
            for name in ("d", "inner"):
                assert (mount.path / name / "f").read_text() == name
                (mount.path / name / "g").write_text(f"{name} written")
                assert (backing / name / "g").read_text() == f"{name} written"
            assert data_requests(mount) == 0


def check_served(mount: Mounted, behind: Path) -> None:
    """Everything works, by requests."""
    (mount.path / "b").write_bytes(noise(MIB))
    assert (behind / "b").read_bytes() == noise(MIB)
    run("cp", mount.path / "b", mount.path / "c")
    assert (mount.path / "c").read_bytes() == noise(MIB)
    with opened(mount.path / "c", os.O_RDWR) as fd, opened(mount.path / "c", os.O_RDONLY) as other:
        os.pwrite(fd, b"new", 0)
        assert os.pread(other, 3, 0) == b"new"
    assert data_requests(mount) > 0


def test_an_overlay_is_served_without_passthrough(btrfs: Path) -> None:
    """ELOOP: it is a stacked filesystem itself."""
    directory = btrfs / "passthrough-overlay"
    for name in ("lower", "upper", "work"):
        (directory / name).mkdir(parents=True)
    layers = ",".join(f"{name}dir={directory / name}" for name in ("lower", "upper", "work"))
    with (
        loopfs.mount(directory / "all", "-t", "overlay", "-o", layers, "none") as backing,
        mounted(backing, "--passthrough") as mount,
    ):
        check_served(mount, backing)
        mount.policy("decline=exdev")
        run("cp", mount.path / "b", mount.path / "d")
        declined = mount.copies(2)[-1]
    assert (declined.dispatch, declined.copied) == ("fallback", MIB)


def test_another_mount_with_passthrough_is_served_without(mount: Mounted) -> None:
    with mounted(mount.path, "--passthrough") as upper:
        check_served(upper, mount.backing)


# ---- who may have it ---------------------------------------------------------------------------------


def test_an_ordinary_user_is_refused() -> None:
    with place() as there, fuse_for_all():
        done = fusecopy("mount", "--passthrough", there.backing, there.point, prefix=NOBODY)
    assert done.returncode == 2
    assert "kernel passthrough is for root (CAP_SYS_ADMIN)\n  mount without --passthrough" in done.stderr


def test_root_of_a_user_namespace_is_refused() -> None:
    """It may mount, and the kernel would then refuse every file."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("missing here: user namespaces")
    with place() as there, fuse_for_all():
        words = ("mount", "-f", "--passthrough", "--log", there.log, there.backing, there.point)
        done = fusecopy(*words, prefix=("unshare", "-Urm"))
    assert done.returncode == 13
    assert "the kernel refuses passthrough to this user namespace" in done.stderr


def test_noatime_is_refused() -> None:
    with place() as there:
        done = fusecopy("mount", "--passthrough", "-o", "noatime", there.backing, there.point)
    assert done.returncode == 2
    assert "noatime and passthrough exclude each other" in done.stderr
