"""What follows answers that the native layer gave by itself (deferred.c), in their order."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from fusecopy.native._native import ffi, lib
from fusecopy.native.callers import Thread
from fusecopy.native.files import NativeFile

if TYPE_CHECKING:
    from fusecopy.native._native import FusecopyEvents, FusecopyFile

log = logging.getLogger(__name__)

Told = TypeVar("Told")

LATER: int = lib.FUSECOPY_LATER
CHANGED: int = lib.FUSECOPY_CHANGED

LENGTH_LIMIT_47: int = lib.FUSECOPY_LENGTH_LIMIT_47
"""To this COPY_FILE_RANGE (opcode 47) is cut, and the program's copy goes on in the next request."""


class Clone(NamedTuple):
    """A copy request that was answered by a clone of its whole range, or by the backing's own copy.

    Attributes:
        off_in, off_out, length: what was asked.
        copied: bytes that the source had of it.
        size: of the source, in bytes.
        begun_ns, ended_ns: CLOCK_MONOTONIC.
        refused: the errno of the clone where the backing's own copy carried it, or 0.
        shared, holes, unprovable: what FIEMAP said of the bytes copied.
        proven: after the answer (LATER), or before it; then somebody else may have CHANGED a file.
    """

    off_in: int
    off_out: int
    length: int
    copied: int
    size: int
    begun_ns: int
    ended_ns: int
    refused: int
    shared: int
    holes: int
    unprovable: int
    proven: int


class Series(NamedTuple):
    """Clones of one caller between two files, all carried the same way.

    Attributes:
        thread: who asked.
        fh_in, fh_out: the handles are still open.
        generation: of the destination, as `calls.file_id` has it.
        numbers: of each clone, how many of any series were answered before.
        clones: in the order of their answers.
    """

    thread: Thread
    fh_in: int
    fh_out: int
    generation: int
    numbers: list[int]
    clones: list[Clone]


class Followers(Protocol):
    """What is told."""

    def cloned(self, series: list[Series]) -> None:
        """No file's bytes have changed since, and no name."""

    def release(self, fh: int) -> None:
        """The last descriptor of an open file was closed."""

    def crowded(self, fh: int) -> None:
        """Many threads have read or written an open file; some may be gone."""


def follow(followers: Followers) -> None:
    """Tell of each event, until `end`; blocks."""
    events = ffi.new("struct fusecopy_events *")
    while lib.fusecopy_next_events(events):
        if events.kind == lib.FUSECOPY_CLONED:
            _guarded(lambda told: followers.cloned(_series(told)), events)
            continue
        tell = followers.release if events.kind == lib.FUSECOPY_RELEASED else followers.crowded
        for event in ffi.unpack(events.first, events.count):
            _guarded(tell, _handle(event.source))


def end() -> None:
    """Have `follow` return once it has told of everything."""
    lib.fusecopy_end_events()


@contextmanager
def proving(source: NativeFile, destination: NativeFile, off_out: int, copied: int) -> Iterator[None]:
    """As long as it lasts, requests wait that would change the source or what was copied: to be begun before
    the answer."""
    proof = ffi.new("struct fusecopy_proof *")
    proof.source, proof.destination = source.native, destination.native
    proof.off_out, proof.copied = off_out, copied
    lib.fusecopy_begin_proof(proof)
    try:
        yield
    finally:
        lib.fusecopy_end_proof(proof)


def barrier() -> None:
    """Wait until everything was told that was answered so far, and is being proven."""
    lib.fusecopy_barrier_all()


def allow_clones(allowed: bool) -> None:
    """Whether copies may be answered by a clone before `copy_file_range` is asked. What is asked it already
    still comes to it."""
    lib.fusecopy_allow_clones(allowed)


def prove_first(is_first: bool) -> None:
    """Whether all of them are proven before their answer, because others change files unseen."""
    lib.fusecopy_prove_first(is_first)


def allow_copies(allowed: bool) -> None:
    """Whether those copies may be answered by the backing's own copy where it has no clones."""
    lib.fusecopy_allow_copies(allowed)


def _guarded(tell: Callable[[Told], None], told: Told) -> None:
    """What goes wrong with one event costs no other."""
    try:
        tell(told)
    except Exception:
        log.exception("unexpected error after a request was answered")


def _series(events: "FusecopyEvents") -> list[Series]:
    count = events.count
    figures = iter(ffi.unpack(ffi.cast("int64_t *", events.clones), count * len(Clone._fields)))
    found: dict[int, Series] = {}
    for number, alike in enumerate(ffi.unpack(events.alike, count)):
        series = found.get(alike)
        if series is None:
            first = events.first[alike]
            files = _handle(first.source), _handle(first.destination)
            series = found[alike] = Series(Thread.of(first.caller), *files, events.generations[alike], [], [])
        series.numbers.append(number)
        series.clones.append(Clone(*islice(figures, len(Clone._fields))))
    return list(found.values())


def _handle(file: "FusecopyFile") -> int:
    return int(ffi.cast("uintptr_t", file))
