"""What the kernel refuses before it asks: seen by root, inferred for others, and only then."""

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Record
from tests.cli.commands import run
from tests.conftest import require
from tests.mount.ordinary import AS_NOBODY, nobodys_mount
from tests.mounted import Mounted, mounted
from tests.tracepoints import TRACEFS, tracefs_mounted

ALWAYS = ("cp", "--reflink=always", "a", "b")
MARKER = "marker"
CONTENT = b"fusecopy" * 8192

REMOVING = """
import fcntl, os, sys
source = os.open("a", os.O_RDONLY)
destination = os.open("b", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
try:
    fcntl.ioctl(destination, 0x40049409, source)
except OSError as error:
    os.unlink("b")
    os.close(destination)
    os.close(source)
    sys.exit(1)
"""
"""What cp does since coreutils 9.7: what it could not clone it takes away again. Called with --reflink."""


EVIDENCE = {"seen": "tracepoint", "inferred": "inferred"}


class Refusing:
    """A mount with a file a to clone, and whoever tries to.

    Attributes:
        mount: the mount.
        evidence: what its records of refused clones are to say.
        prefix: makes a command its owner's.
    """

    def __init__(self, mount: Mounted, how: str) -> None:
        self.mount = mount
        self.evidence = EVIDENCE[how]
        self.prefix = AS_NOBODY if how == "inferred" else ()
        self._told = 0
        (mount.backing / "a").write_bytes(CONTENT)
        (mount.backing / "empty").touch()

    def run(self, *command: str) -> int:
        """Run a command in the mount as its owner; its status."""
        done = subprocess.run(
            [*self.prefix, "sh", "-c", 'cd "$0" && exec "$@"', self.mount.path, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        return done.returncode

    def records(self) -> list[Copy]:
        """What was copied or refused since the last call: a copy of our own is made last, and waited for."""
        assert self.run("cp", "a", MARKER) == 0
        self._told += 1

        def done(records: list[Record]) -> bool:
            return len(_marks(records)) == self._told

        records = self.mount.records_until(done)
        begin = _marks(records)[-2] if self._told > 1 else 0
        return [r for r in records[begin:] if isinstance(r, Copy) and r.dst != MARKER]


def _marks(records: list[Record]) -> list[int]:
    return [n for n, r in enumerate(records) if isinstance(r, Copy) and r.dst == MARKER]


@pytest.fixture(params=["seen", "inferred"], scope="module")
def shared(request: pytest.FixtureRequest, btrfs: Path) -> Iterator[Refusing]:
    """A mount of root's that sees the ioctls, and one of an ordinary user's that infers."""
    require("fuse", "root", "loop")
    with tracefs_mounted():
        if request.param == "inferred":
            with nobodys_mount(btrfs) as mount:
                yield Refusing(mount, request.param)
        else:
            backing = btrfs / "refusing"
            backing.mkdir()
            with mounted(backing, "-o", "trace_ioctls") as mount:
                yield Refusing(mount, request.param)


@pytest.fixture
def refusing(shared: Refusing) -> Iterator[Refusing]:
    """One of both, with nothing in it but a file with data and an empty one."""
    yield shared
    shared.run("sh", "-c", "find . -mindepth 1 ! -name a ! -name empty -delete")


@pytest.mark.parametrize(
    "command",
    [
        ALWAYS,
        ("cp", "--reflink", "a", "b"),
        ("cp", "--refl=alw", "a", "b"),
        ("cp", "-p", "a", "b", "--reflink"),
        ("python3", "-c", REMOVING, "--reflink=always"),
    ],
)
def test_refused_clone_has_one_record(refusing: Refusing, command: tuple[str, ...]) -> None:
    assert refusing.run(*command) == 1
    (copy,) = refusing.records()
    assert (copy.dispatch, copy.asked, copy.errno) == ("refused", "FICLONE", "EOPNOTSUPP")
    assert (copy.src, copy.dst, copy.length, copy.copied) == ("a", "b", len(CONTENT), 0)
    assert copy.evidence == refusing.evidence
    assert copy.comm == command[0]
    assert copy.cause
    assert "kernel refuses FICLONE" in copy.cause
    assert copy.remedy
    assert "fusecopy run" in copy.remedy


def test_of_a_refused_tree_each_file_has_a_record(refusing: Refusing) -> None:
    assert refusing.run("sh", "-c", "mkdir t; for i in 1 2 3 4 5; do cp a t/$i; done") == 0
    refusing.records()
    assert refusing.run("cp", "-r", "--reflink=always", "t", "u") == 1
    assert {(copy.src, copy.dst) for copy in refusing.records()} == {
        (f"t/{i}", f"u/{i}") for i in range(1, 6)
    }


def said(*command: str | Path) -> str:
    """What a command says, on one line."""
    return " ".join(run(*command).stdout.split())


def test_explain_tells_the_same(refusing: Refusing) -> None:
    assert refusing.run(*ALWAYS) == 1
    (copy,) = refusing.records()
    told = said("explain", "--log", refusing.mount.log, str(copy.seq))
    assert "the kernel refused it and asked no server" in told
    assert "fusecopy run" in told
    assert ("inferred" in told) == (copy.evidence == "inferred")
    shown = said("log", "-x", refusing.mount.log)
    assert "refused" in shown
    assert "fusecopy run before the command" in shown


def test_what_the_server_was_asked_has_its_own_record(refusing: Refusing) -> None:
    """Plain cp asks by FICLONE first, too; under fusecopy run the server is asked."""
    assert refusing.run("cp", "a", "b") == 0
    assert refusing.run("cp", "--reflink=always", "a", "c") == 1
    assert refusing.run("cp", "--reflink=auto", "a", "c") == 0
    copies = refusing.records()
    assert [(copy.dst, copy.dispatch) for copy in copies] == [
        ("b", "dispatched"),
        ("c", "refused"),
        ("c", "dispatched"),
    ]


PYTHON = """
import fcntl, os, struct, sys
source = os.open("a", os.O_RDONLY)
destination = os.open("b", os.O_RDWR | os.O_CREAT)
range_ = struct.pack("=qQQQ", source, 0, 4096, 0)
one = struct.pack("=QQHHIqQQi", 0, 4096, 1, 0, 0, destination, 0, 0, 0) + bytes(4)
asked = {
    "FICLONE": (destination, 0x40049409, source),
    "FICLONERANGE": (destination, 0x4020940D, range_),
    "FIDEDUPERANGE": (source, 0xC0189436, one),
    "FIEMAP": (source, 0xC020660B, bytes(32)),
}
try:
    fcntl.ioctl(*asked[sys.argv[1]])
except OSError as error:
    sys.exit(error.errno)
"""


@pytest.mark.parametrize("asked", ["FICLONE", "FICLONERANGE", "FIDEDUPERANGE", "FIEMAP"])
def test_each_ioctl_is_seen_of_any_program(refusing: Refusing, asked: str) -> None:
    """By who may see it; others infer nothing of a program whose command line asks for nothing."""
    assert refusing.run("python3", "-c", PYTHON, asked) == errno.EOPNOTSUPP
    copies = refusing.records()
    if refusing.evidence == "inferred":
        assert copies == []
        return
    for _ in range(50):  # what has no destination is told by another thread, when it has seen it
        copies = copies or refusing.records()
    (copy,) = copies
    dst = "b" if asked.startswith("FICLONE") else "a"
    assert (copy.asked, copy.errno, copy.src, copy.dst) == (asked, "EOPNOTSUPP", "a", dst)
    assert (copy.dispatch, copy.evidence) == ("refused", "tracepoint")


INNOCENT = (
    *(f"touch {option} n" for option in ("", "-a", "-m", "-d @0", "-r a", "-h", "-t 200001010000", "--")),
    *(f"{shell} -c ': >n'" for shell in ("sh", "bash", "dash")),
    *(f"sh -c ': >n' sh {word}" for word in ("--reflink", "--reflink=always", "--reflink=auto")),
    *(f"sh -c 'exec 3<a; : >n; exec 3<&-' sh {word}" for word in ("-r", "--ref", "--recursive", "--refs")),
    *(f"sh -c ': {to}n'" for to in (">", ">>", "<>", ">|")),
    *(f"sh -c ': >n; rm {option} n'" for option in ("", "-f", "-v", "-r")),
    *(f"cp {option} empty n" for option in ("", "-p", "-a", "-r", "-n", "-u", "-f", "-v", "--sparse=always")),
    *(f"cp --reflink={word} a n" for word in ("auto", "never", "au", "nev")),
    *(f"cp --reflink={word} empty n" for word in ("auto", "never")),
    *(f"cp --reflink=always --reflink={word} a n" for word in ("auto", "never")),
    *(f"cp {option} --reflink=always a n" for option in ("--attributes-only", "--attr")),
    *(f"cp {option} a n" for option in ("-l", "-s", "-p", "-a", "--sparse=never")),
    *(f"cp --reflink=always {option} a n" for option in ("-l", "-s")),
    *(f"install {option} empty n" for option in ("", "-m 600", "-p", "-D")),
    *(f"truncate -s {size} n" for size in (0, 1, 4096, "1M", "%4096")),
    *(f"dd if={source} of=n status=none" for source in ("/dev/null", "empty")),
    *(f"dd of=n count=0 status=none {option}" for option in ("", "seek=1", "conv=notrunc", "conv=excl <a")),
    *(f"fallocate -l {size} n" for size in (1, 4096, 65536)),
    *(f"mktemp -p . {option}" for option in ("", "--suffix=.x", "-t")),
    *(f"tee {option} n </dev/null" for option in ("", "-a", "-i")),
    *(f'python3 -c \'open("n", "{mode}")\' {word}' for mode in "wax" for word in ("", "--reflink")),
    *(f'python3 -c \'import shutil; shutil.{name}("empty", "n")\'' for name in ("copy", "copy2")),
    'python3 -c \'import shutil; shutil.copyfile("a", "n")\'',
    "python3 -c 'import tempfile; tempfile.TemporaryFile(dir=\".\")' --reflink",
    "python3 -c 'import tempfile; tempfile.NamedTemporaryFile(dir=\".\")' --reflink",
    "python3 -c 'import sqlite3; sqlite3.connect(\"n\").close()'",
    "flock n true",
    "flock -s n true",
    "mv empty n; mv n empty",
    "ln a n",
    "ln -s a n",
    "mkfifo n",
    "mknod n p",
    "tar cf n --files-from /dev/null",
    "tar cf - empty | tar xf - --transform s/empty/n/",
    "tar cf - a | tar xf - --transform s/a/n/",
    "git init -q n",
    "rsync empty n",
    "rsync -a empty n",
    "split -b 1M empty n",
    "csplit -s -f n a 1",
    "sort -o n empty",
    "sed -i s/x/y/ empty",
    "perl -e 'open(F, \">n\")'",
    'awk \'BEGIN { printf "" >"n" }\'',
    "head -c 0 a >n",
    "tail -c 0 a >n",
    "cat empty >n",
    "grep nothing-such a >n",
    "find . -name nothing-such -fprint n",
    "gzip -k empty",
    "xargs -a empty touch n",
    "logger --help >n",
    "rm -f n",
    "chmod 600 empty; : >n",
    "sh -c 'set -C; : >n'",
    "cp --reflink=auto /dev/null n",
    "cp --reflink=never /etc/hostname n",
)


def test_innocent_creations_leave_no_such_record(refusing: Refusing) -> None:
    assert len(set(INNOCENT)) >= 100
    for command in INNOCENT:
        refusing.run("sh", "-c", f"{command}; rm -rf n*")
    refused = [copy for copy in refusing.records() if copy.dispatch == "refused"]
    assert [(copy.comm, copy.src, copy.dst, copy.args) for copy in refused] == []


def _instances() -> set[str]:
    return {path.name for path in (TRACEFS / "instances").glob("fusecopy-*-ioctls")}


@pytest.mark.root
@pytest.mark.fuse
def test_it_is_not_watched_unless_told(tmp_path: Path) -> None:
    """The tracepoints are felt by every process on the machine."""
    with tracefs_mounted(), mounted(tmp_path) as mount:
        assert f"fusecopy-{mount.process.pid}-ioctls" not in _instances()


def test_trace_buffer_goes_with_the_server(tmp_path: Path) -> None:
    """Of one that was killed, with the next server."""
    require("fuse", "root")
    with tracefs_mounted():
        with mounted(tmp_path, "-o", "trace_ioctls") as mount:
            name = f"fusecopy-{mount.process.pid}-ioctls"
            assert name in _instances()
        assert name not in _instances()
        with mounted(tmp_path, "-o", "trace_ioctls", expected=".") as mount:
            killed = f"fusecopy-{mount.process.pid}-ioctls"
            mount.process.kill()
            mount.process.wait(20)
        assert killed in _instances()
        with mounted(tmp_path, "-o", "trace_ioctls"):
            assert killed not in _instances()
