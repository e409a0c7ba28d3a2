"""Takes events out of a trace buffer while a command runs, into bounded memory; they are parsed afterwards,
so that tracing costs the command as little as it can."""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PAGE = 1 << 16

LIMIT = 64 << 20
"""Bytes of text kept; some 600,000 events."""

SENT = b" fuse_request_send: "
ENDED = b" fuse_request_end: "


class Spool:
    """What a trace buffer has said so far.

    Attributes:
        dropped: events that came when the memory was used up.
        open_requests: FUSE requests sent and not yet ended.
    """

    def __init__(self, pipe: int, limit: int = LIMIT) -> None:
        self.dropped = 0
        self.open_requests = 0
        self._pipe = pipe
        self._limit = limit
        self._chunks: list[bytes] = []
        self._size = 0

    def take(self) -> None:
        """Take out what is in the buffer now."""
        while chunk := self._read():
            self.open_requests += chunk.count(SENT) - chunk.count(ENDED)
            if self._size + len(chunk) > self._limit:
                self.dropped += chunk.count(b"\n")
                continue
            self._chunks.append(chunk)
            self._size += len(chunk)

    def take_until_quiet(self, seconds: float) -> None:
        """Take out events until every request has ended, for so long at most."""
        deadline = time.monotonic() + seconds
        self.take()
        while self.open_requests > 0 and (left := deadline - time.monotonic()) > 0:
            select.select([self._pipe], [], [], left)
            self.take()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take events out in a thread of their own during the block, and the rest at its end."""
        end_read, end_write = os.pipe()
        thread = threading.Thread(target=self._run, args=(end_read,))
        thread.start()
        try:
            yield
        finally:
            os.close(end_write)
            thread.join()
            os.close(end_read)
            self.take()

    def lines(self) -> Iterator[bytes]:
        """The events, oldest first."""
        for chunk in self._chunks:
            yield from chunk.rstrip(b"\n").split(b"\n")  # a program's name may hold a carriage return

    def _run(self, end: int) -> None:
        ready: list[int] = []
        while end not in ready:
            ready, _, _ = select.select([self._pipe, end], [], [])
            self.take()

    def _read(self) -> bytes:
        try:
            return os.read(self._pipe, PAGE)
        except BlockingIOError:
            return b""
