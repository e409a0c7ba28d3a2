"""The kernel's own count of the requests it sends, by the tracepoint fuse:fuse_request_send (Linux 6.12)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benching.commands import run
from fusecopy.observe import tracefs

BUFFER_KIB = 32 << 10
"""For each processor: half a million requests."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """Tracefs, where it is mounted."""

    path: Path

    @contextmanager
    def of(self, connection: int) -> Iterator[tracefs.Instance]:
        """A trace buffer with the requests of one FUSE connection, gone when the block ends."""
        with tracefs.instance(self.path, "bench", BUFFER_KIB) as instance:
            instance.enable("fuse/fuse_request_send", f"connection == {connection}")
            yield instance


@contextmanager
def tracing() -> Iterator[Tracing | tracefs.TracingError]:
    """How requests are counted, or why they cannot be; tracefs is unmounted if it was not there before."""
    came = not any((place / "instances").is_dir() for place in tracefs.PLACES)
    if came:
        run("mount", "-t", "tracefs", "none", tracefs.PLACES[0])
    try:
        try:
            found: Tracing | tracefs.TracingError = Tracing(tracefs.find())
        except tracefs.TracingError as error:
            found = error
        yield found
    finally:
        if came:
            # Somebody else may have an instance of his own open in it by now.
            run("umount", "--lazy", tracefs.PLACES[0])
