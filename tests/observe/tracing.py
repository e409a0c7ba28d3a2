"""What tests of `fusecopy trace` and `fusecopy audit` share."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mounted import FUSECOPY
from tests.tracepoints import TRACEFS, tracefs_mounted

SECONDS = 60


@pytest.fixture
def tracefs() -> Iterator[Path]:
    """Tracefs, and after the test the proof that nothing was left in it."""
    require("root")
    with tracefs_mounted():
        require("tracefs")
        yield TRACEFS
        assert not _left_behind()


def _left_behind() -> list[str]:
    """Instances of tracers that are gone; tracefs is one for the machine, and others may be tracing."""
    names = [path.name for path in (TRACEFS / "instances").glob("fusecopy-[0-9]*")]
    return [name for name in names if not Path("/proc", name.split("-")[1]).exists()]


def run(
    command: str, arguments: Sequence[str | Path], *, points: Sequence[Path] = (), options: Sequence[str] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run `fusecopy trace` or `fusecopy audit` on a command to its end."""
    words = [FUSECOPY, command, *options, *points, "--", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)


def told(text: str) -> str:
    """A story without what differs from run to run (process numbers, durations, the kernel's readahead), and
    without the causes that the server gives, which have tests of their own."""
    text = re.sub(r"\[\d+\]", "", text)
    text = re.sub(r"\d+\.\d ms", "MS", text)
    text = re.sub(r"(    server: .* MS): .*", r"\1", text)
    return re.sub(r"\d+ READ", "N READ", text)


def fill(path: Path, size: int) -> Path:
    """A file of so many bytes that no filesystem compresses, on the disk so that extents are known."""
    with path.open("wb") as file:
        file.write(os.urandom(size))
        os.fsync(file.fileno())
    return path
