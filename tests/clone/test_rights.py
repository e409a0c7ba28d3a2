"""Nothing is cloned that the caller could not have cloned natively, whoever tries by whatever means."""

import errno
import fcntl
import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fusecopy import ioctls
from fusecopy.clone import files
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.openfiles import OpenFiles
from fusecopy.ioctls import Asked
from fusecopy.native import files as native_files
from tests.clone.running import AS_NOBODY, plain, program, said, served
from tests.conftest import require
from tests.mounted import FUSECOPY, Mounted, mounted

NOBODY = 65534
CONTENT = b"open" * 2048


@pytest.fixture
def mount(btrfs: Path) -> Iterator[Mounted]:
    """A mount for all users."""
    require("fuse", "root", "loop", "seccomp")
    directory = btrfs / "rights"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    with mounted(directory, "-o", "allow_other") as mount:
        yield mount
    plain("rm", "-rf", directory, cwd=btrfs)


def put(directory: Path, name: str, mode: int, content: bytes = CONTENT, owner: int = 0) -> None:
    (directory / name).write_bytes(content)
    os.chown(directory / name, owner, owner)
    (directory / name).chmod(mode)


def code(call: Callable[[], object]) -> str:
    """The name of the errno of a call, or 0."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "0"


# ---- programs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", [True, False], ids=["nobody runs it", "root runs it, it becomes nobody"])
def test_ordinary_user_may_what_it_may_natively(mount: Mounted, outside: bool) -> None:
    native = mount.backing / "native"
    native.mkdir(mode=0o755)
    for directory in (native, mount.backing):
        put(directory, "source", 0o644)
        put(directory, "roots", 0o644)
        put(directory, "everybodys", 0o666)
        put(directory, "own", 0o444, owner=NOBODY)
        put(directory, "setuid", 0o6777)
    # Root alone can go to where the backing lies.
    enter = os.open(native, os.O_RDONLY)
    try:
        os.set_inheritable(enter, True)
        expected = json.loads(_as_nobody_in(enter, *program("rights.py")))
    finally:
        os.close(enter)
    if outside:
        found = json.loads(said(served(*program("rights.py"), cwd=mount.path, prefix=AS_NOBODY)))
    else:
        found = json.loads(said(served(*AS_NOBODY, *program("rights.py"), cwd=mount.path)))
    assert found == expected
    assert found["mode of setuid"] == "0o777"
    assert (found["dedupe into root's"], found["dedupe into everybody's"]) == (-errno.EPERM, 0)
    assert {copy.uid for copy in mount.copies(4)} == {NOBODY}


def _as_nobody_in(directory: int, *command: str | Path) -> str:
    done = subprocess.run(
        [*AS_NOBODY, *command],
        preexec_fn=lambda: os.fchdir(directory),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return said(done)


def test_swapped_descriptors_bring_nothing_that_could_not_be_read(mount: Mounted) -> None:
    put(mount.backing, "open", 0o644)
    put(mount.backing, "secret", 0o622, b"SECR" * 2048)
    put(mount.backing, "guarded", 0o644, b"GUAR" * 2048)
    results, contents = json.loads(said(served(*program("swapping.py"), cwd=mount.path, prefix=AS_NOBODY)))
    # ENOTSUP: what was no pair to clone when it was looked at, the kernel found to be one on this mount.
    assert set(results) <= {"0", "EBADF", "ENOTSUP"}
    assert results["0"] > 0
    assert results["EBADF"] > 0
    assert set(contents) == {"", "open"}
    assert (mount.backing / "guarded").read_bytes() == b"GUAR" * 2048


# ---- the mount's own ioctls, called by hand ----------------------------------------------------------------


@pytest.fixture
def pair(mount: Mounted) -> Iterator[tuple[int, int]]:
    """A source and a destination, open in the mount with all rights."""
    put(mount.backing, "source", 0o644)
    put(mount.backing, "destination", 0o644, b"")
    fds = tuple(os.open(mount.path / name, os.O_RDWR) for name in ("source", "destination"))
    yield fds[0], fds[1]
    for fd in fds:
        os.close(fd)


def test_token_is_good_once(pair: tuple[int, int]) -> None:
    source, destination = pair
    token = files.offer(source, Asked.FICLONE, 0, 0)
    files.clone(destination, token, 0, 0)
    assert os.pread(destination, len(CONTENT), 0) == CONTENT
    assert code(lambda: files.clone(destination, token, 0, 0)) == "EPERM"


def test_token_of_another_thread_is_refused(pair: tuple[int, int]) -> None:
    source, destination = pair
    token = files.offer(source, Asked.FICLONE, 0, 0)
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(code(lambda: files.clone(destination, token, 0, 0))))
    thread.start()
    thread.join()
    assert seen == ["EPERM"]
    assert os.fstat(destination).st_size == 0


def test_guessed_token_is_refused(pair: tuple[int, int]) -> None:
    source, destination = pair
    token = files.offer(source, Asked.FICLONE, 0, 0)
    guessed = token[: ioctls.SERVER_BYTES] + bytes(ioctls.SECRET_BYTES)
    assert code(lambda: files.clone(destination, guessed, 0, 0)) == "EPERM"
    assert os.fstat(destination).st_size == 0


def test_access_modes_count(mount: Mounted, pair: tuple[int, int]) -> None:
    source, destination = pair
    for name, flags, of in (("source", os.O_WRONLY, 0), ("destination", os.O_RDONLY, 1)):
        fd = os.open(mount.path / name, flags)
        token = files.offer(fd if of == 0 else source, Asked.FICLONE, 0, 0)
        into = fd if of == 1 else destination
        assert code(partial(files.clone, into, token, 0, 0)) == "EBADF"
        os.close(fd)
    assert os.fstat(destination).st_size == 0


def test_file_size_limit_counts(pair: tuple[int, int]) -> None:
    source, destination = pair
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    token = files.offer(source, Asked.FICLONE, 0, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        assert code(partial(files.clone, destination, token, 0, 0)) == "EFBIG"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.fstat(destination).st_size == 0


def test_offer_of_nonsense_is_refused(pair: tuple[int, int]) -> None:
    nonsense = bytearray(b"\xff" * 24)
    assert code(lambda: fcntl.ioctl(pair[0], ioctls.OFFER, nonsense, True)) == "EINVAL"


def test_log_names_nobody_who_did_not_call(mount: Mounted, pair: tuple[int, int]) -> None:
    source, destination = pair
    files.clone(destination, files.offer(source, Asked.FICLONE, 0, 0), 0, 1)
    assert mount.copies(1)[0].pid == os.getpid()


def test_extents_stay_within_their_buffer(pair: tuple[int, int]) -> None:
    """A count beyond what one request can carry would have the kernel write behind the server's buffer."""
    head = bytearray(32)
    head[8:16] = b"\xff" * 8
    head[24:28] = b"\xff\xff\xff\x03"
    result, answer = files.fiemap(pair[0], bytes(head))
    assert result == 0
    assert int.from_bytes(answer[24:28], "little") == ioctls.EXTENTS


def test_source_closed_meanwhile_is_not_cloned(tmp_path: Path) -> None:
    """Its descriptor's number may be another file's by then."""
    (tmp_path / "a").write_bytes(CONTENT)
    fd = os.open(tmp_path / "a", os.O_RDONLY)
    opened = OpenFiles()
    table = InodeTable(os.open(tmp_path, os.O_PATH), 1, 0)
    file = opened.get(native_files.opened(fd, table.root, os.O_RDONLY, 0, 0).fh)
    with opened.borrowed(file) as borrowed:
        assert os.path.sameopenfile(fd, borrowed)
    opened.remove(file.fh)
    with pytest.raises(OSError, match="Bad file descriptor"), opened.borrowed(file):
        pass
    os.close(fd)
    table.close()


# ---- ends that nobody planned ------------------------------------------------------------------------------

KILLED = """
import fcntl, os, signal
source = os.open("source", os.O_RDONLY)
for round in range(20):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        into = os.open(f"b{round}", os.O_RDWR | os.O_CREAT)
        while True:
            os.ftruncate(into, 0)
            fcntl.ioctl(into, 0x40049409, source)
            os.write(writing, b"1")
    os.close(writing)
    os.read(reading, round + 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    assert open(f"b{round}", "rb").read() in (b"", open("source", "rb").read())
into = os.open("last", os.O_RDWR | os.O_CREAT)
fcntl.ioctl(into, 0x40049409, source)
print("served")
"""


def test_killed_callers_leave_the_supervisor_serving(mount: Mounted) -> None:
    put(mount.backing, "source", 0o644)
    assert said(served(sys.executable, "-c", KILLED, cwd=mount.path)) == "served\n"


ORPHANED = """
import errno, fcntl, os, sys
source, into = os.open("source", os.O_RDONLY), os.open("b", os.O_RDWR | os.O_CREAT)
print(os.getpid(), flush=True)
sys.stdin.readline()
try:
    fcntl.ioctl(into, 0x40049409, source)
except OSError as error:
    print(errno.errorcode[error.errno], flush=True)
"""


def test_killed_supervisor_is_told_and_leaves_enosys(mount: Mounted) -> None:
    put(mount.backing, "source", 0o644)
    supervisor = subprocess.Popen(
        [FUSECOPY, "run", sys.executable, "-c", ORPHANED],
        cwd=mount.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with supervisor:
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        assert supervisor.stderr is not None
        pid = int(supervisor.stdout.readline())
        assert pid != supervisor.pid
        supervisor.kill()
        supervisor.wait(10)
        assert f"the supervisor (pid {supervisor.pid}) was killed" in supervisor.stderr.readline()
        supervisor.stdin.write("\n")
        supervisor.stdin.flush()
        assert supervisor.stdout.readline() == "ENOSYS\n"
