"""How the calls of a command ended, where that can be seen: the tracepoints of system calls, for root.

What is noted of a call when it begins, and what the kernel tells of its end, meet by thread, call and the
descriptors' numbers, in order.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from fusecopy.clone._native import lib
from fusecopy.clone.noting import Kind, Noted
from fusecopy.observe import tracefs
from fusecopy.observe.events import Enter, Event, Exit, parse

BUFFER_KIB = 4096
MOST_BYTES = 64 << 20
"""Of events in memory: enough for some 200,000 calls."""

CALLS = ("copy_file_range", "sendfile64", "splice", "ioctl")
CLONES = f"cmd == {lib.FICLONE} || cmd == {lib.FICLONERANGE}"

_NAMES = {
    Kind.COPY_FILE_RANGE: "copy_file_range",
    Kind.SENDFILE: "sendfile64",
    Kind.SPLICE: "splice",
    Kind.FICLONE: "ioctl",
    Kind.FICLONERANGE: "ioctl",
}

_SOURCES = {"copy_file_range": "fd_in", "sendfile64": "in_fd", "splice": "fd_in"}
_DESTINATIONS = {"copy_file_range": "fd_out", "sendfile64": "out_fd", "splice": "fd_out", "ioctl": "fd"}


class _Key(NamedTuple):
    """By what both sides know a call. Of a clone only its destination: the source may lie in memory."""

    thread: int
    call: str
    source: int
    destination: int


class Call(NamedTuple):
    """A call that was noted: the first, second, ... of its key."""

    key: _Key
    number: int


class Results:
    """Collects events, and tells results when all is over. One thread at a time."""

    def __init__(self, instance: tracefs.Instance | None) -> None:
        self._instance = instance
        self._descriptor = instance.open() if instance else -1
        self._lines: list[bytes] = []
        self._bytes = 0
        self._noted: dict[_Key, int] = defaultdict(int)
        self._ended: dict[_Key, list[int]] | None = None

    def note(self, noted: Noted) -> Call:
        """A copying call begins."""
        name = _NAMES[noted.kind]
        source = noted.source_number if name != "ioctl" else -1
        key = _Key(noted.thread, name, source, noted.destination_number)
        self._noted[key] += 1
        return Call(key, self._noted[key] - 1)

    def collect(self) -> None:
        """Take what the kernel has told so far."""
        while self._instance and self._bytes < MOST_BYTES:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return
            self._lines.append(data)
            self._bytes += len(data)

    def finish(self) -> None:
        """Nothing comes any more."""
        self.collect()
        if self._instance and self._bytes < MOST_BYTES and not self._instance.lost():
            events, _ = parse(b"".join(self._lines).rstrip(b"\n").split(b"\n"))
            self._ended = _ended(events)

    def close(self) -> None:
        """An instance that is open cannot be removed."""
        os.close(self._descriptor)

    def of(self, call: Call) -> int | None:
        """What it returned, an errno negative; None where that was not seen, or is not known yet. Where more
        or fewer were seen than noted, none can be told from another."""
        ended = self._ended.get(call.key, []) if self._ended is not None else []
        return ended[call.number] if len(ended) == self._noted[call.key] else None


def _ended(events: list[Event]) -> dict[_Key, list[int]]:
    found: dict[_Key, list[int]] = defaultdict(list)
    begun: dict[int, _Key] = {}
    for event in events:
        if isinstance(event, Enter) and event.name in CALLS:
            begun[event.thread] = _key(event)
        elif isinstance(event, Exit) and (key := begun.get(event.thread)) and key.call == event.name:
            found[begun.pop(event.thread)].append(event.result)
    return found


def _key(event: Enter) -> _Key:
    given = event.arguments
    source = given[_SOURCES[event.name]] if event.name in _SOURCES else -1
    return _Key(event.thread, event.name, source, given[_DESTINATIONS[event.name]])


@contextmanager
def watched(trace: bool) -> Iterator[Results]:
    """Results of this process's children from now on; without any where they cannot be seen, or are not
    wanted."""
    events = [f"syscalls/sys_{side}_{call}" for call in CALLS for side in ("enter", "exit")]
    try:
        place = tracefs.find(events) if trace else None
    except tracefs.TracingError:
        place = None
    if place is None:
        yield Results(None)
        return
    tracefs.remove_stale(place)
    with tracefs.instance(place, "expect", BUFFER_KIB) as instance:
        instance.follow([os.getpid()])
        for event in events:
            instance.enable(event, CLONES if event.endswith("enter_ioctl") else "")
        results = Results(instance)
        try:
            yield results
        finally:
            results.close()
