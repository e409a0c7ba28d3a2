"""A real mount for a test: the real command in a process of its own, watched from beginning to end."""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fusecopy import mounts
from fusecopy.dispatch.reader import follow
from fusecopy.dispatch.records import Copy, Record
from fusecopy.errors import UnmountError

FUSECOPY = str(Path(sys.executable).with_name("fusecopy"))
READY_SECONDS = 30.0

NATIVE_LANE = os.environ.get("FUSECOPY_TEST_NATIVE_LANE") != "off"
"""Whether mounts of tests answer natively what may be; else Python answers everything, and the same holds."""
TRANSPORT = os.environ.get("FUSECOPY_TEST_TRANSPORT", "")
"""`io_uring`: that is how the requests of tests' mounts come; conftest switches it on for the whole run."""

END_SECONDS = 30.0

SUSPICIOUS = re.compile(
    r"traceback|unexpected error|never awaited|warning|exception|please report|segmentation", re.IGNORECASE
)
"""What a server must not say unless the test expects it."""


CALLER = re.compile(r"/proc/\d+(/comm|/cmdline)?( \(deleted\))?")
"""What a descriptor of a caller that the server remembers is called: those are bounded, and stay."""


def descriptors(pid: int) -> int:
    """How many descriptors a server has, but for callers' and for rings, which come as they are needed."""
    held = 0
    for name in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            what = os.readlink(name)
            held += what != "anon_inode:[io_uring]" and not CALLER.fullmatch(what)
    return held


@dataclass
class Mounted:
    """A mount that answers.

    Attributes:
        path: the mount point.
        backing: the directory served.
        log: the dispatch log.
        process: the server, in the foreground.
        expected: the server's words that are no failure here, as a regular expression.
    """

    path: Path
    backing: Path
    log: Path
    process: "subprocess.Popen[bytes]"
    expected: str = ""

    @property
    def connection(self) -> int:
        """The FUSE connection's number, which is the minor of st_dev."""
        mount = mounts.at(str(self.path))
        assert mount is not None
        return mount.connection

    def policy(self, words: str) -> None:
        """Change the policy."""
        os.setxattr(self.path, "user.fusecopy.policy", words.encode())

    def attribute(self, name: str) -> str:
        """One of the server's own attributes of the mount's root."""
        return os.getxattr(self.path, f"user.fusecopy.{name}").decode()

    def records_until(self, done: Callable[[list[Record]], bool], seconds: float = 20.0) -> list[Record]:
        """The log's records as soon as `done` says they are enough; fails after `seconds`."""
        stop = threading.Event()
        timer = threading.Timer(seconds, stop.set)
        timer.start()
        found: list[Record] = []
        try:
            for record in follow(self.log, stop):
                found.append(record)
                if done(found):
                    return found
        finally:
            timer.cancel()
        raise AssertionError(f"after {seconds} s the log had only {found}")

    def await_words(self, words: str, seconds: float = 20.0) -> None:
        """Wait until the server has said `words` on stderr; fails after `seconds`."""
        errors = self.log.with_name("stderr")
        deadline = time.monotonic() + seconds
        while words not in errors.read_text(errors="replace"):
            assert time.monotonic() < deadline, f"after {seconds} s the server had not said {words!r}"
            select.select([], [], [], 0.01)

    def copies(self, count: int) -> list[Copy]:
        """The first `count` copies of the log, waiting for them if need be."""
        found = self.records_until(lambda records: len(_copies(records)) >= count)
        return _copies(found)


def answered_natively(mount: Mounted) -> dict[str, int]:
    """How many requests the native lane has answered so far, by operation."""
    lanes = json.loads(mount.attribute("stats"))["lanes"]
    return {name: native for name, (native, _) in lanes.items()}


def _copies(records: Sequence[Record]) -> list[Copy]:
    return [record for record in records if isinstance(record, Copy)]


@contextmanager
def mounted(
    backing: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    expected: str = "",
    mountpoint: Path | None = None,
) -> Iterator[Mounted]:
    """Mount `backing` with the real command and check its end: status 0, nothing suspicious said, gone.

    Args:
        arguments: further ones for `fusecopy mount`.
        prefix: put before the command, as ("runuser", "-u", "nobody", "--") or ("prlimit", ...).
        expected: a regular expression for words of the server that are no failure here.
    """
    with tempfile.TemporaryDirectory(prefix="fusecopy-test-") as scratch:
        os.chmod(scratch, 0o777)
        point = mountpoint or Path(scratch) / "mnt"
        point.mkdir(exist_ok=True, mode=0o777)
        point.chmod(0o777)
        log, errors = Path(scratch) / "log.jsonl", Path(scratch) / "stderr"
        lane = [] if NATIVE_LANE else ["--no-native-lane"]
        options = ["-f", "--log", str(log), *lane, *_transport(arguments), *arguments]
        command = [*prefix, FUSECOPY, "mount", *options, str(backing), str(point)]
        with errors.open("wb") as stderr:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)
        mount = Mounted(point, backing, log, process, expected)
        try:
            _await_ready(process, errors)
            yield mount
        finally:
            _end(mount)
        _check(mount, errors.read_text(errors="replace"))


def _transport(arguments: Sequence[str]) -> list[str]:
    """Where a test asks for neither way, what the whole run is about."""
    words = {word for argument in arguments for word in argument.split(",")}
    if TRANSPORT and not words & {"io_uring", "no-io_uring"}:
        return ["-o", TRANSPORT]
    return []


def _await_ready(process: "subprocess.Popen[bytes]", errors: Path) -> None:
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
    line = process.stdout.readline() if readable else b""
    assert line.startswith(b"mounted "), f"the mount did not get ready: {line!r} {errors.read_text()}"


def _end(mount: Mounted) -> None:
    """Unmount; whatever goes wrong, nothing stays mounted and nobody hangs."""
    if mount.process.poll() is None:
        result = subprocess.run(["umount", "-i", str(mount.path)], capture_output=True, timeout=END_SECONDS)
        if result.returncode:
            subprocess.run([FUSECOPY, "umount", "--lazy", str(mount.path)], timeout=END_SECONDS)
    try:
        mount.process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        left = mounts.at(str(mount.path))
        if left:
            with suppress(UnmountError):  # without fusectl the kill below has to do
                mounts.abort(left)
        mount.process.kill()
        mount.process.wait(END_SECONDS)
    finally:
        assert mount.process.stdout is not None
        mount.process.stdout.close()
        if mounts.at(str(mount.path)):
            subprocess.run(["umount", "-i", "-l", str(mount.path)], timeout=END_SECONDS)


def _check(mount: Mounted, said: str) -> None:
    lines = [line for line in said.splitlines() if SUSPICIOUS.search(line)]
    bad = [line for line in lines if not mount.expected or not re.search(mount.expected, line)]
    assert not bad, f"the server said: {said}"
    if not mount.expected:
        assert mount.process.returncode == 0, f"the server ended with {mount.process.returncode}: {said}"
