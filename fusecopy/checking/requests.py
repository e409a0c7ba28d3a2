"""What the kernel asks the server, where that can be watched: by tracepoints, for root (Linux 6.12)."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fusecopy.observe import tracefs
from fusecopy.observe.events import COPY, COPY_64, Ended, Sent, parse

BUFFER_KIB = 4096


class Requests:
    """The requests of one connection, so far."""

    def __init__(self, descriptor: int, connection: int) -> None:
        self._descriptor = descriptor
        self._connection = connection
        self._lines = b""

    def copies(self) -> list[tuple[str, int]]:
        """Each copy request, and the errno that it was answered; 0 for a count."""
        while data := self._more():
            self._lines += data
        events, _ = parse(self._lines.rstrip(b"\n").split(b"\n"))
        ours = [event for event in events if isinstance(event, Sent | Ended)]
        errnos = {event.unique: event.errno for event in ours if isinstance(event, Ended)}
        return [
            (event.opcode, errnos[event.unique])
            for event in ours
            if isinstance(event, Sent) and event.opcode in (COPY, COPY_64) and event.unique in errnos
        ]

    def _more(self) -> bytes:
        try:
            return os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            return b""


@contextmanager
def watched(connection: int) -> Iterator[Requests | None]:
    """Watch while the context lasts; None where that cannot be done here."""
    events = ("fuse/fuse_request_send", "fuse/fuse_request_end")
    try:
        place = tracefs.find(events)
    except tracefs.TracingError:
        yield None
        return
    tracefs.remove_stale(place)
    with tracefs.instance(place, "check", BUFFER_KIB) as instance:
        for event in events:
            instance.enable(event, f"connection == {connection}")
        descriptor = instance.open()
        try:
            yield Requests(descriptor, connection)
        finally:
            os.close(descriptor)
