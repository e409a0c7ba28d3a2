"""What is measured and how: rows of the report, memory and CPU of the server, programs that use the mount."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import loopfs, mounted

ROOT = Path(__file__).resolve().parents[2]

KIB = 1 << 10
MIB = 1 << 20
TIB = 1 << 40

CLIENT_SECONDS = 3600.0
"""No program that uses a mount may take longer; it is killed then, and the mount ended."""


@dataclass(frozen=True, slots=True)
class Row:
    """One number of the report.

    Attributes:
        what: the thing measured.
        value: as measured.
        unit: of the value; empty for a plain count.
        most: what it may be at most, where that is a goal.
    """

    what: str
    value: float
    unit: str = ""
    most: float | None = None

    @property
    def missed(self) -> bool:
        """Whether a goal is missed."""
        return self.most is not None and self.value > self.most


Rows = Generator[Row, None, None]
"""A scenario's numbers as they come."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process in bytes: resident, and resident with shared pages divided among their users."""

    rss: int
    pss: int


def memory(pid: int) -> Memory:
    """Memory of a process now."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", text, re.MULTILINE))
    return Memory(int(kib["Rss"]) * KIB, int(kib["Pss"]) * KIB)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, in user space and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def mounted_image(kind: str, size: int = 0) -> Iterator[mounted.Mounted]:
    """A mount, by the real command, of a fresh btrfs, XFS or ext4 on a loop device; `size` in bytes."""
    with scratch() as directory, loopfs.mounted(kind, directory, size) as filesystem:
        backing = filesystem / "backing"
        backing.mkdir()
        # In a session of its own the server is not ended by ^C before we are done with it.
        with mounted.mounted(backing, prefix=("setsid",)) as mount:
            yield mount


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory for images and logs, below TMPDIR or /tmp; gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="fusecopy-scale-") as name:
        yield Path(name)


def client(job: str, *arguments: str | Path | int) -> dict[str, float]:
    """Run a function of `clients` as a program of its own; what it found out."""
    command = [sys.executable, "-m", "scaling.clients", job, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=CLIENT_SECONDS, start_new_session=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found
