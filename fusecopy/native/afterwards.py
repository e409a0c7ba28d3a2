"""What follows answers that the native layer gave by itself (afterwards.c), in their order."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from fusecopy.native._native import ffi, lib
from fusecopy.native.callers import Thread
from fusecopy.native.files import NativeFile

log = logging.getLogger(__name__)

LENGTH_LIMIT_47: int = lib.FUSECOPY_LENGTH_LIMIT_47
"""To this COPY_FILE_RANGE (opcode 47) is cut, and the program's copy goes on in the next request."""


class Clone(NamedTuple):
    """A copy request that was answered by a clone of its whole range.

    Attributes:
        thread: who asked.
        fh_in, off_in, fh_out, off_out, length: what was asked; the handles are still open.
        copied: bytes that the source had of it.
        size: of the source, in bytes.
        begun_ns, ended_ns: CLOCK_MONOTONIC.
    """

    thread: Thread
    fh_in: int
    off_in: int
    fh_out: int
    off_out: int
    length: int
    copied: int
    size: int
    begun_ns: int
    ended_ns: int


class Followers(Protocol):
    """What is told."""

    def cloned(self, clone: Clone) -> None:
        """Neither file's bytes have changed since, and no name."""

    def release(self, fh: int) -> None:
        """The last descriptor of an open file was closed."""

    def crowded(self, fh: int) -> None:
        """Many threads have read or written an open file; some may be gone."""


def follow(followers: Followers) -> None:
    """Tell of each event, until `end`; blocks."""
    event = ffi.new("struct fusecopy_event *")
    while lib.fusecopy_next_event(event):
        try:
            _tell(followers, event)
        except Exception:
            log.exception("unexpected error after a request was answered")


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


def settle() -> None:
    """Wait until everything was told that was answered so far, and is being proven."""
    lib.fusecopy_settle()


def allow_clones(allowed: bool) -> None:
    """Whether copies may be answered by a clone before `copy_file_range` is asked. What is asked it already
    still comes to it."""
    lib.fusecopy_allow_clones(allowed)


def _tell(followers: Followers, event: "ffi.CData") -> None:
    if event.kind == lib.FUSECOPY_RELEASED:
        followers.release(_handle(event.source))
        return
    if event.kind == lib.FUSECOPY_CROWDED:
        followers.crowded(_handle(event.source))
        return
    followers.cloned(
        Clone(
            Thread.of(event.caller),
            _handle(event.source),
            event.off_in,
            _handle(event.destination),
            event.off_out,
            event.length,
            event.copied,
            event.size,
            event.begun_ns,
            event.ended_ns,
        )
    )


def _handle(file: "ffi.CData") -> int:
    return int(ffi.cast("uintptr_t", file))
