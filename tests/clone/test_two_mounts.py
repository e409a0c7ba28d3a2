"""Clones from one mount of fusecopy into another."""

import errno
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.clone import files
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Copy
from fusecopy.ioctls import SECRET_BYTES, SERVER_BYTES, Asked
from tests.clone.running import AS_NOBODY, plain, program, said, served
from tests.clone.test_programs import shared
from tests.conftest import require
from tests.loopfs import MIB
from tests.mount.ordinary import nobodys_mount
from tests.mount.sides import NOBODY
from tests.mounted import FUSECOPY, Mounted, descriptors, mounted
from tests.reflink.files import noise

PROMPTLY = 8.0
"""Seconds that a clone may take which a server does not answer for."""

ENDED = ("EXDEV\n", "ENOTCONN\n", "ECONNABORTED\n")
"""What a program is told whose mount's server is gone, or is just going."""

RANGE = struct.Struct("=Q QQ")


@pytest.fixture(autouse=True)
def needs() -> None:
    require("fuse", "root", "loop", "seccomp")


@contextmanager
def two(
    one: Path, other: Path, prefix: Sequence[str] = (), expected: str = ""
) -> Iterator[tuple[Mounted, Mounted]]:
    """Mounts of two fresh directories, the first with the file `a`; the prefix is the second's server's, what
    is expected the first's."""
    behind = one / "of-two-mounts", other / "and-the-other"
    for directory in behind:
        directory.mkdir()
        directory.chmod(0o777)
    (behind[0] / "a").write_bytes(noise(MIB))
    try:
        with (
            mounted(behind[0], "-o", "allow_other", expected=expected) as there,
            mounted(behind[1], "-o", "allow_other", prefix=prefix) as here,
        ):
            yield there, here
    finally:
        for directory in behind:
            shutil.rmtree(directory)


def _copied(mount: Mounted) -> list[Copy]:
    """Copies in the log now."""
    mount.attribute("log")  # asked for it, the server writes what it has
    return [record for record in current(mount.log) if isinstance(record, Copy)]


def _got_nothing(destination: Path) -> bool:
    """After a cp --reflink=always that failed: coreutils 9.1 leaves what it made, 9.7 takes it away."""
    return not destination.exists() or destination.read_bytes() == b""


# ---- programs ----------------------------------------------------------------------------------------------


def test_cp_reflink_always(sharing_backing: Path) -> None:
    with two(sharing_backing, sharing_backing) as (there, here):
        assert said(served("cp", "--reflink=always", there.path / "a", "b", cwd=here.path)) == ""
        assert (here.path / "b").read_bytes() == noise(MIB)
        assert shared(there.backing / "a", here.backing / "b") == MIB
        (copy,) = here.copies(1)
        assert not _copied(there)
        assert mounts.behind(os.fsencode(copy.src)) == os.fsencode(there.backing / "a")
    assert (copy.src, copy.dst) == (str(there.path / "a"), "b")
    assert (copy.asked, copy.dispatch, copy.path, copy.comm) == ("FICLONE", "dispatched", "reflink", "cp")
    assert (copy.copied, copy.shared, copy.driver, copy.errno) == (MIB, MIB, "ioctl", None)


def test_each_call_is_as_on_the_backing(sharing_backing: Path) -> None:
    native = sharing_backing / "native one", sharing_backing / "native two"
    for directory in native:
        directory.mkdir()
    expected = json.loads(said(plain(*program("across.py", *native), cwd=sharing_backing)))
    assert expected["seen at once"] == ["0", True, True]
    assert expected["modes (1, 1)"][0] == expected["modes (0, 0)"][0] == "EBADF"
    with two(sharing_backing, sharing_backing) as (there, here):
        found = json.loads(said(served(*program("across.py", there.path, here.path), cwd=here.path)))
        asked = {copy.asked for copy in _copied(here) if copy.src == str(there.path / "source")}
    assert found == expected
    assert asked == {"FICLONE", "FICLONERANGE", "FIDEDUPERANGE"}


def test_two_filesystems_give_exdev(btrfs: Path, xfs: Path) -> None:
    with two(btrfs, xfs) as (there, here):
        done = served("cp", "--reflink=always", there.path / "a", "b", cwd=here.path)
        (copy,) = here.copies(1)
        assert _got_nothing(here.path / "b")
    assert "Invalid cross-device link" in done.stderr
    assert (copy.asked, copy.dispatch, copy.errno, copy.copied) == ("FICLONE", "refused", "EXDEV", 0)


def test_ordinary_users_two_mounts(btrfs: Path) -> None:
    with nobodys_mount(btrfs) as there, nobodys_mount(btrfs) as here:
        script = f"cd {there.path} && echo content > a && cp --reflink=always a {here.path}/b"
        said(served("sh", "-c", script, cwd=Path("/"), prefix=AS_NOBODY))
        copy = next(copy for copy in here.copies(1) if copy.asked == "FICLONE")
    assert (copy.uid, copy.dispatch, copy.src) == (NOBODY, "dispatched", f"{there.path}/a")


def test_servers_of_different_users_give_exdev(btrfs: Path) -> None:
    with two(btrfs, btrfs) as (roots, _), nobodys_mount(btrfs) as nobodys:
        script = f"cp --reflink=always {roots.path}/a {nobodys.path}/b; echo $?;"
        script += (
            f"echo content > {nobodys.path}/c; cp --reflink=always {nobodys.path}/c {roots.path}/d; echo $?"
        )
        done = served("sh", "-c", script, cwd=Path("/"), prefix=AS_NOBODY)
        assert done.stdout == "1\n1\n"
        assert done.stderr.count("Invalid cross-device link") == 2
        assert _got_nothing(nobodys.backing / "b")
        assert _got_nothing(roots.backing / "d")


@pytest.mark.parametrize("apart", [("unshare", "--net", "--"), ("unshare", "--pid", "--fork", "--")])
def test_servers_in_different_namespaces_give_exdev(btrfs: Path, apart: Sequence[str]) -> None:
    with two(btrfs, btrfs, prefix=apart) as (there, here):
        done = served("cp", "--reflink=always", there.path / "a", "b", cwd=here.path)
        assert "Invalid cross-device link" in done.stderr
        assert _got_nothing(here.path / "b")
        (here.path / "a").write_bytes(noise(MIB))
        back = served("cp", "--reflink=always", here.path / "a", there.path / "c", cwd=here.path)
        assert "Invalid cross-device link" in back.stderr
        assert _got_nothing(there.path / "c")


# ---- the mounts' own ioctls and sockets, used by hand ------------------------------------------------------


@dataclass
class Pair:
    """Two mounts, and a file of each that is open here with all rights."""

    there: Mounted
    here: Mounted
    source: int
    destination: int

    def offer(self) -> bytes:
        return files.offer(self.source, Asked.FICLONE, 0, 0)

    def clone(self, token: bytes) -> str:
        """The errno's name, or 0."""
        try:
            files.clone(self.destination, token, 0, 0)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return "0"


@contextmanager
def opened(filesystem: Path, expected: str = "") -> Iterator[Pair]:
    with two(filesystem, filesystem, expected=expected) as (there, here):
        source = os.open(there.path / "a", os.O_RDWR)
        destination = os.open(here.path / "b", os.O_RDWR | os.O_CREAT)
        try:
            yield Pair(there, here, source, destination)
        finally:
            for fd in (source, destination):
                with suppress(OSError):  # ENOTCONN where the server was killed
                    os.close(fd)


@pytest.fixture
def pair(btrfs: Path) -> Iterator[Pair]:
    with opened(btrfs) as pair:
        yield pair


def test_token_is_good_once(pair: Pair) -> None:
    token = pair.offer()
    assert pair.clone(token) == "0"
    assert os.pread(pair.destination, MIB, 0) == noise(MIB)
    assert pair.clone(token) == "EXDEV"


def test_token_of_another_thread_is_refused(pair: Pair) -> None:
    token = pair.offer()
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(pair.clone(token)))
    thread.start()
    thread.join()
    assert seen == ["EXDEV"]
    assert pair.clone(token) == "0"


def test_guessed_tokens_are_refused(pair: Pair) -> None:
    token = pair.offer()
    assert pair.clone(bytes(SERVER_BYTES) + token[SERVER_BYTES:]) == "EXDEV"
    assert pair.clone(token[:SERVER_BYTES] + bytes(SECRET_BYTES)) == "EXDEV"
    assert os.fstat(pair.destination).st_size == 0


def test_access_modes_count(pair: Pair) -> None:
    fd = os.open(pair.there.path / "a", os.O_WRONLY)
    token = files.offer(fd, Asked.FICLONE, 0, 0)
    assert pair.clone(token) == "EBADF"
    os.close(fd)
    read_only = os.open(pair.here.path / "b", os.O_RDONLY)
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.clone(read_only, pair.offer(), 0, 0)
    os.close(read_only)


def test_source_closed_meanwhile_is_not_cloned(pair: Pair) -> None:
    fd = os.open(pair.there.path / "a", os.O_RDONLY)
    token = files.offer(fd, Asked.FICLONE, 0, 0)
    os.close(fd)
    _eventually(lambda: json.loads(pair.there.attribute("stats"))["open_files"] == 1)
    assert pair.clone(token) == "EXDEV"


def test_socket_hands_out_for_a_token_alone(pair: Pair) -> None:
    token = pair.offer()
    server, secret = token[:SERVER_BYTES].hex(), token[SERVER_BYTES:].hex()
    thread = threading.get_native_id()
    asking = program("asking.py", server)
    before = _descriptors(pair.there)
    # Another user with all that is right: the offer is not even touched.
    assert said(plain(*AS_NOBODY, *asking, secret, str(thread), cwd=Path("/"))) == "0 0\n"
    assert said(plain(*asking, secret, str(os.getppid()), cwd=Path("/"))) == "0 0\n"
    assert said(plain(*asking, secret, str(thread), cwd=Path("/"))) != "0 0\n"
    assert said(plain(*asking, secret, str(thread), cwd=Path("/"))) == "0 0\n"
    pair.offer()
    assert said(plain(*asking, "00" * SECRET_BYTES, str(thread), cwd=Path("/"))) == "0 0\n"
    _eventually(lambda: _descriptors(pair.there) == before)


IMPOSTOR = """
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
    door.bind(b"\\0fusecopy-" + b"impostor")
    door.listen()
    print("ready", flush=True)
    connection, _ = door.accept()
    if sys.argv[1] == "silent":
        sys.stdin.read()
    fd = os.open("/etc/passwd", os.O_RDONLY)
    try:
        print(len(connection.recv(100)), flush=True)
        socket.send_fds(connection, [bytes.fromhex(sys.argv[1])], [fd])
    except OSError:
        pass
"""


@pytest.mark.parametrize(
    ("answer", "prefix", "heard"),
    [
        (RANGE.pack(Asked.FICLONE, 0, 0).hex(), AS_NOBODY, "0"),
        (RANGE.pack(99, 0, 0).hex(), (), "24"),
        ("00", (), "24"),
        ("silent", (), "24"),
    ],
    ids=["another user", "no such call", "too short", "silent"],
)
def test_impostor_is_not_believed(pair: Pair, answer: str, prefix: Sequence[str], heard: str) -> None:
    """Who names a server of his own gets nothing cloned, and another user is not even asked."""
    before = _descriptors(pair.here)
    command = [*prefix, sys.executable, "-c", IMPOSTOR, answer]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as impostor:
        assert impostor.stdout is not None
        assert impostor.stdout.readline() == "ready\n"
        begun = time.monotonic()
        assert pair.clone(b"impostor" + bytes(SECRET_BYTES)) == "EXDEV"
        assert time.monotonic() - begun < PROMPTLY
        assert impostor.communicate()[0] == f"{heard}\n"
    assert os.fstat(pair.destination).st_size == 0
    _eventually(lambda: _descriptors(pair.here) == before)


def test_no_descriptor_leaks(pair: Pair) -> None:
    before = _descriptors(pair.there), _descriptors(pair.here)
    for _ in range(50):
        assert pair.clone(pair.offer()) == "0"
        assert pair.clone(pair.offer()[:SERVER_BYTES] + bytes(SECRET_BYTES)) == "EXDEV"
    _eventually(lambda: (_descriptors(pair.there), _descriptors(pair.here)) == before)


def _descriptors(mount: Mounted) -> int:
    return descriptors(mount.process.pid)


def _eventually(true: Callable[[], bool]) -> None:
    """Servers close what they have used after they have answered."""
    deadline = time.monotonic() + PROMPTLY
    while not true():
        assert time.monotonic() < deadline


# ---- servers that are gone ---------------------------------------------------------------------------------


def test_stopped_server_delays_and_gives_exdev(pair: Pair) -> None:
    token = pair.offer()
    pair.there.process.send_signal(signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, pair.there.process.pid, os.WSTOPPED)
        begun = time.monotonic()
        assert pair.clone(token) == "EXDEV"
        assert time.monotonic() - begun < PROMPTLY
    finally:
        pair.there.process.send_signal(signal.SIGCONT)
    _eventually(lambda: pair.clone(pair.offer()) == "0")


ASKING = """
import errno, fcntl, os, sys
source, into = os.open(sys.argv[1], os.O_RDONLY), os.open("c", os.O_RDWR | os.O_CREAT)
print("ready", flush=True)
sys.stdin.readline()
try:
    fcntl.ioctl(into, 0x40049409, source)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_killed_server_gives_an_error_at_once(btrfs: Path) -> None:
    with opened(btrfs, expected="killed") as pair:
        token = pair.offer()
        command = [FUSECOPY, "run", sys.executable, "-c", ASKING, str(pair.there.path / "a")]
        with subprocess.Popen(
            command, cwd=pair.here.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "ready\n"
            pair.there.process.kill()
            pair.there.process.wait()
            begun = time.monotonic()
            assert pair.clone(token) == "EXDEV"
            assert run.communicate("\n", timeout=PROMPTLY)[0] in ENDED
            assert time.monotonic() - begun < PROMPTLY
        assert os.fstat(pair.destination).st_size == 0
