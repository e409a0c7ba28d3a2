"""The stories of fusecopy trace, word for word: program, kernel and server."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loopfs import MIB
from tests.mounted import Mounted, mounted
from tests.observe.tracing import fill, run, told, tracefs

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop, pytest.mark.usefixtures("tracefs")]

__all__ = ["tracefs"]

CLONE = "  ioctl FICLONE(3, 4) -> EOPNOTSUPP, the kernel refuses it on FUSE without asking the server\n"
END = "  copy_file_range(3, 4, to the end) -> 0, the end of the source\n"


@pytest.fixture(scope="module")
def mount(btrfs: Path) -> Iterator[Mounted]:
    """A mount of a btrfs directory in which the file `a` is of 1 MiB."""
    backing = btrfs / "trace-stories"
    backing.mkdir()
    fill(backing / "a", MIB)
    with mounted(backing) as made:
        yield made


@pytest.fixture(autouse=True)
def default_policy(mount: Mounted) -> Iterator[None]:
    yield
    mount.policy("default")


def story(mount: Mounted, *arguments: str | Path, status: int = 0) -> str:
    """What trace tells of a command, which must end with `status`."""
    output = mount.backing.parent / "story"
    done = run("trace", arguments, points=[mount.path], options=["-o", str(output)])
    assert done.returncode == status, done.stderr
    # cp of coreutils 9.10 asks for 2047 MiB at a time, older ones for all there is.
    return told(output.read_text()).replace("2047 MiB", "to the end")


def python(program: str, *arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-c", program, *arguments]


def test_cp_is_told_as_a_refused_clone_and_a_reflink(mount: Mounted) -> None:
    assert story(mount, "cp", mount.path / "a", mount.path / "auto") == (
        f"cp a -> auto in {mount.path}\n"
        + CLONE
        + "  copy_file_range(3, 4, to the end) -> 1 MiB, dispatched, MS\n"
        "    kernel: 1 COPY_FILE_RANGE_64\n"
        "    server: dispatched, reflink 1 MiB, 1 MiB shared (fiemap), MS\n" + END
    )


def test_cp_reflink_always_asks_no_server(mount: Mounted) -> None:
    text = story(mount, "cp", "--reflink=always", mount.path / "a", mount.path / "always", status=1)
    assert text == f"cp in {mount.path}\n" + CLONE


def test_cp_reflink_never_bypasses_the_server(mount: Mounted) -> None:
    text = story(mount, "cp", "--reflink=never", mount.path / "a", mount.path / "never")
    # cp of coreutils 9.1 writes 128 KiB at once, of 9.7 256 KiB.
    assert text in [
        f"cp a -> never in {mount.path}\n"
        "  read, write or mapped pages -> 1 MiB written, bypassed, MS\n"
        f"    kernel: N READ, {writes} WRITE\n"
        "    server: bypassed, client 1 MiB, MS\n"
        for writes in (8, 4)
    ]


def test_dd_bypasses_the_server(mount: Mounted) -> None:
    text = story(mount, "dd", f"if={mount.path}/a", f"of={mount.path}/dd", "bs=256K", "status=none")
    assert text == (
        f"dd a -> dd in {mount.path}\n"
        "  read, write or mapped pages -> 1 MiB written, bypassed, MS\n"
        "    kernel: N READ, 4 WRITE\n"
        "    server: bypassed, client 1 MiB, MS\n"
    )


def test_sendfile_is_told_call_by_call(mount: Mounted) -> None:
    program = (
        "import os, sys\n"
        "a, b = os.open(sys.argv[1], 0), os.open(sys.argv[2], os.O_CREAT | os.O_RDWR)\n"
        "while os.sendfile(b, a, None, 1 << 18): pass"
    )
    text = story(mount, *python(program, mount.path / "a", mount.path / "sendfile"))
    comm = Path(sys.executable).name
    assert text == (
        f"{comm} a -> sendfile in {mount.path}\n"
        "  sendfile, 4 calls -> 1 MiB, bypassed, MS\n"
        "    kernel: N READ, 16 WRITE\n"
        "    server: bypassed, client 1 MiB, MS\n"
        "  sendfile(3, 4, 256 KiB) -> 0, the end of the source\n"
    )


def test_splice_counts_what_comes_out_of_the_pipe(mount: Mounted) -> None:
    program = (
        "import os, sys\n"
        "a, b = os.open(sys.argv[1], 0), os.open(sys.argv[2], os.O_CREAT | os.O_RDWR)\n"
        "r, w = os.pipe()\n"
        "while n := os.splice(a, w, 1 << 16): assert os.splice(r, b, n) == n"
    )
    text = story(mount, *python(program, mount.path / "a", mount.path / "splice"))
    assert "  splice, 32 calls -> 1 MiB, bypassed, MS\n    kernel: N READ, 16 WRITE\n" in text
    assert "    server: bypassed, client 1 MiB, MS\n" in text


@pytest.mark.parametrize(
    ("errno", "kernel"),
    [
        ("EOPNOTSUPP", "1 COPY_FILE_RANGE_64 answered EOPNOTSUPP"),
        ("EXDEV", "1 COPY_FILE_RANGE_64 answered EXDEV"),
    ],
)
def test_a_declined_copy_is_the_kernels_own(mount: Mounted, errno: str, kernel: str) -> None:
    mount.policy(f"decline={errno.lower()}")
    assert story(mount, "cp", mount.path / "a", mount.path / errno) == (
        f"cp a -> {errno} in {mount.path}\n"
        + CLONE
        + "  copy_file_range(3, 4, to the end) -> 1 MiB, fallback, MS\n"
        f"    kernel: {kernel}, N READ, 16 WRITE\n"
        "    server: fallback, kernel-splice 1 MiB, MS\n" + END
    )


def test_a_refused_copy_fails(mount: Mounted) -> None:
    mount.policy("refuse=EIO")
    assert story(mount, "cp", mount.path / "a", mount.path / "refused", status=1) == (
        f"cp a -> refused in {mount.path}\n" + CLONE + "  copy_file_range(3, 4, to the end) -> EIO, refused\n"
        "    kernel: 1 COPY_FILE_RANGE_64 answered EIO\n"
        "    server: refused, EIO, MS\n"
    )


def test_the_servers_cause_is_told(mount: Mounted) -> None:
    mount.policy("refuse=ENOSPC")
    destination = mount.path / "cause"
    done = run("trace", ["cp", mount.path / "a", destination], points=[mount.path])
    cause = json.loads(os.getxattr(destination, "user.fusecopy.copy"))["cause"]
    assert f" ms: {cause}\n" in done.stderr


def test_forks_are_followed(mount: Mounted) -> None:
    a, b, c = (mount.path / name for name in ("a", "fork-b", "fork-c"))
    text = story(mount, "sh", "-c", f"cp {a} {b} & cp {a} {c} & wait")
    stories = text.split("cp a -> ")[1:]
    assert sorted(part.split()[0] for part in stories) == ["fork-b", "fork-c"]
    for part in stories:
        assert part.count("1 COPY_FILE_RANGE_64\n") == 1
        assert part.count("dispatched, reflink 1 MiB, 1 MiB shared (fiemap), MS\n") == 1


def test_threads_are_their_process(mount: Mounted) -> None:
    program = (
        "import os, sys, threading\n"
        "def copy(name):\n"
        "    a, b = os.open(sys.argv[1], 0), os.open(name, os.O_CREAT | os.O_RDWR)\n"
        "    os.copy_file_range(a, b, 1 << 20)\n"
        "threads = [threading.Thread(target=copy, args=(name,)) for name in sys.argv[2:]]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()"
    )
    text = story(mount, *python(program, *(mount.path / name for name in ("a", "t1", "t2", "t3"))))
    comm = Path(sys.executable).name
    for name in ("t1", "t2", "t3"):
        assert text.count(f"{comm} a -> {name} in {mount.path}\n") == 1
    assert text.count("server: dispatched, reflink 1 MiB, 1 MiB shared (fiemap), MS\n") == 3


def test_after_enosys_nobody_is_asked(btrfs: Path) -> None:
    backing = btrfs / "trace-enosys"
    backing.mkdir()
    fill(backing / "a", MIB)
    with mounted(backing, "--decline", "enosys") as mount:
        first = story(mount, "cp", mount.path / "a", mount.path / "b")
        second = story(mount, "cp", mount.path / "a", mount.path / "c")
    assert (
        "    kernel: 1 COPY_FILE_RANGE_64 answered ENOSYS, 1 COPY_FILE_RANGE answered ENOSYS,"
        " N READ, 16 WRITE\n" in first
    )
    assert ("    kernel: N READ, 16 WRITE\n    server: fallback, kernel-splice 1 MiB, MS\n") in second


def test_between_two_mounts_no_server_is_asked(mount: Mounted, btrfs: Path) -> None:
    backing = btrfs / "trace-other"
    backing.mkdir()
    with mounted(backing) as other:
        output = btrfs / "story"
        done = run(
            "trace",
            ["cp", mount.path / "a", other.path / "b"],
            points=[mount.path, other.path],
            options=["-o", str(output)],
        )
        assert done.returncode == 0, done.stderr
        text = told(output.read_text())
    assert text.startswith(f"cp {mount.path}/a -> b in {other.path}\n")
    assert (
        "  copy_file_range(3, 4, to the end) -> 1 MiB, fallback, MS\n"
        "    kernel: N READ, 16 WRITE\n"
        "    server: fallback, kernel-splice 1 MiB, MS\n"
    ) in text
