"""The real commands, run to their end, and a mount in the background that is gone afterwards."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusecopy import mounts
from tests.mounted import FUSECOPY

NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
"""Put before a command, makes it an ordinary user's."""


FAULT = re.compile(r"Traceback| CRITICAL ")
"""What no server may have to say in its diagnostics, whatever the test did to it."""


@dataclass(frozen=True)
class Place:
    """Three directories for one mount, open to everybody.

    Attributes:
        backing: the directory to serve.
        point: where to mount it.
        log: a place for the log, outside of both.
    """

    backing: Path
    point: Path
    log: Path


def run(
    *command: str | Path, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """`fusecopy` with the given arguments."""
    return subprocess.run(
        [*prefix, FUSECOPY, *command],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        env={**os.environ, **(environment or {})},
    )


@contextmanager
def place() -> Iterator[Place]:
    """A fresh place; whatever is mounted at its point in the end is taken away, and the test fails for it."""
    with tempfile.TemporaryDirectory(prefix="fusecopy-test-") as directory:
        there = Place(Path(directory) / "backing", Path(directory) / "mnt", Path(directory) / "log.jsonl")
        for path in (Path(directory), there.backing, there.point):
            path.mkdir(exist_ok=True)
            path.chmod(0o777)
        try:
            yield there
        finally:
            left = mounts.at(str(there.point))
            if left:
                subprocess.run(["umount", "-i", "-l", there.point], timeout=30)
        assert left is None, f"{there.point} was still mounted"
        for diagnostics in Path(directory).rglob("*.diagnostics"):
            said = diagnostics.read_text(errors="replace")
            assert not FAULT.search(said), f"the server complained of itself: {said}"


@contextmanager
def background(there: Place, *arguments: str | Path, prefix: Sequence[str] = ()) -> Iterator[int]:
    """A mount in the background, as everybody makes it; yields the server's process id."""
    done = run("mount", "--log", there.log, *arguments, there.backing, there.point, prefix=prefix)
    assert done.returncode == 0, done.stderr
    pid = int(re.findall(r"\(pid (\d+)", done.stdout)[-1])
    try:
        yield pid
    finally:
        ended = run("umount", there.point, prefix=prefix)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    assert not running(pid)


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended may still wait for init to reap it."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
