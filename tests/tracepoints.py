"""The kernel's own count of the requests it sends, by the tracepoint fuse:fuse_request_send (Linux 6.12)."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require

TRACEFS = Path("/sys/kernel/tracing")

COPY = 47
COPY_64 = 53
"""COPY_FILE_RANGE_64, which the trace of Linux 6.18 prints without a name."""
READ = 15
WRITE = 16

EVENT = re.compile(r"fuse_request_send: connection (\d+) req \d+ opcode (\d+) ")


class Trace:
    """What one connection's kernel side sends, seen by a trace buffer of our own."""

    def __init__(self, instance: Path, connection: int) -> None:
        self._instance = instance
        self._connection = connection

    def requests(self) -> Counter[int]:
        """Requests sent so far by opcode; fails where the buffer lost any."""
        for statistics in self._instance.glob("per_cpu/cpu*/stats"):
            assert "overrun: 0\n" in statistics.read_text(), "the trace buffer was too small"
        found = EVENT.findall((self._instance / "trace").read_text())
        assert {int(connection) for connection, _ in found} <= {self._connection}
        return Counter(int(opcode) for _, opcode in found)

    def copies(self) -> int:
        """Copy requests of both opcodes."""
        requests = self.requests()
        return requests[COPY] + requests[COPY_64]


@contextmanager
def traced(connection: int) -> Iterator[Trace]:
    """Trace the requests of one FUSE connection; the instance goes at the end, as does tracefs if it came."""
    with tracefs_mounted():
        require("tracefs")
        instance = TRACEFS / "instances" / f"fusecopy-test-{os.getpid()}"
        instance.mkdir()
        try:
            (instance / "buffer_size_kb").write_text("8192")
            event = instance / "events/fuse/fuse_request_send"
            (event / "filter").write_text(f"connection == {connection}")
            (event / "enable").write_text("1")
            yield Trace(instance, connection)
            (event / "enable").write_text("0")
        finally:
            instance.rmdir()


@contextmanager
def tracefs_mounted() -> Iterator[None]:
    """Tracefs where fusecopy looks for it; unmounted at the end if it was not there before."""
    if (TRACEFS / "instances").is_dir():
        yield
        return
    require("root")
    subprocess.run(["mount", "-t", "tracefs", "none", TRACEFS], check=True, timeout=10)
    try:
        yield
    finally:
        # Another test run may have its own instance open in it.
        subprocess.run(["umount", "--lazy", TRACEFS], check=True, timeout=10)
