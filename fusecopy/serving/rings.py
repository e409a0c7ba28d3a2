"""The threads that serve requests by io_uring (libfuse/uring.c): one for each processor in the beginning,
more where all of a processor's wait, and one that watches them.
"""

import errno
import os
import resource
import threading
from collections.abc import Callable
from dataclasses import dataclass

import trio

from fusecopy.native._native import ffi, lib

ENTRIES_EACH = 1
"""For each processor in the beginning."""

MORE_ENTRIES = 1024
"""Made later at most, and no more than one for so many descriptors that the server may have:"""

DESCRIPTORS_EACH = 16


@dataclass(frozen=True, slots=True)
class RingState:
    """How far requests come by io_uring.

    Attributes:
        agreed: they do.
        failure: errno of an entry that could not be had, or 0.
        queues: one for each possible processor.
        entries: requests that may be under way at once, in all queues.
        entry_bytes: of memory each may come to use.
        requests: how many came so.
    """

    agreed: bool
    failure: int
    queues: int
    entries: int
    entry_bytes: int
    requests: int


class Rings:
    """The threads of one session. `add` may be called on any thread, the rest on trio's.

    Args:
        mountpoint: what they serve.
        processors: a queue for each; 0 for none.
    """

    def __init__(self, mountpoint: str, processors: int) -> None:
        self._mountpoint = os.fsencode(mountpoint)
        self._processors = processors
        self._threads: list[threading.Thread] = []

    async def begin(self) -> None:
        """Have everything ready before INIT is answered; where it cannot be, `ring_state` says why, and
        requests come by /dev/fuse."""
        if not self._processors:
            return
        more = min(MORE_ENTRIES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DESCRIPTORS_EACH)
        error = lib.fusecopy_uring_prepare(self._mountpoint, self._processors, ENTRIES_EACH, more)
        if not error:
            for queue in range(self._processors):
                for _ in range(ENTRIES_EACH):
                    self.add(queue)
            self._start(lib.fusecopy_uring_watch)
            error = await trio.to_thread.run_sync(lib.fusecopy_uring_await_ready)
        if error:
            lib.fusecopy_uring_end()

    def add(self, queue: int) -> None:
        """Add a thread with an entry to a queue; where the system gives none, those that there are go on."""
        try:
            self._start(lib.fusecopy_serve_ring, queue)
        except RuntimeError:
            lib.fusecopy_uring_fail(errno.EAGAIN)

    def _start(self, target: Callable[..., None], *args: int) -> None:
        thread = threading.Thread(target=target, args=args, name="ring", daemon=True)
        thread.start()
        self._threads.append(thread)

    async def ended(self) -> None:
        """Wait for the threads, once they were told to end (fusecopy_stop)."""
        for thread in self._threads:
            await trio.to_thread.run_sync(thread.join)


def ring_state() -> RingState:
    """As it is now."""
    rings = ffi.new("struct fusecopy_rings *")
    lib.fusecopy_uring_look(rings)
    return RingState(
        bool(rings.agreed), rings.failure, rings.queues, rings.entries, rings.entry_bytes, rings.requests
    )
