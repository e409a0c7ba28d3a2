"""The kernel's own count of the requests it sends, by the tracepoint fuse:fuse_request_send (Linux 6.12)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benching.commands import BenchError
from benching.place import mounted
from fusecopy.observe import tracefs

EVENT = "fuse/fuse_request_send"
BUFFER_KIB = 32 << 10
"""For each processor: half a million requests."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """Tracefs, mounted for us alone: another's mount of it may go at any time."""

    path: Path

    @contextmanager
    def of(self, connection: int) -> Iterator[tracefs.Instance]:
        """A trace buffer with the requests of one FUSE connection, gone when the block ends."""
        with tracefs.instance(self.path, "bench", BUFFER_KIB) as instance:
            instance.enable(EVENT, f"connection == {connection}")
            yield instance


@contextmanager
def tracing(point: Path) -> Iterator[Tracing]:
    """How requests are counted.

    Raises:
        BenchError: they cannot be, because of the kernel or of its lockdown.
    """
    point.mkdir()
    with mounted(point, "-t", "tracefs", "fusecopy-bench"):
        if not (point / "events" / EVENT).is_dir():
            raise BenchError(f"this kernel has no event {EVENT}: Linux 6.12 or later is needed")
        yield Tracing(point)
