"""Turns what happened to copies into records of the dispatch log, and remembers the last one of each file."""

import errno
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol, TypedDict

import msgspec

from fusecopy.copying import errnos
from fusecopy.copying.calls import FileId
from fusecopy.copying.contents import Evidence
from fusecopy.copying.records import Attempt as Try
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import rewritten
from fusecopy.dispatch.lines import Lines
from fusecopy.dispatch.records import (
    Attempt,
    Copy,
    Dispatch,
    Flow,
    Lost,
    Note,
    Record,
    Requests,
    Tree,
    encode_path,
    timestamp,
    timestamps,
)
from fusecopy.native.drivers import UNKNOWN
from fusecopy.native.files import Moved
from fusecopy.observe.caller import Caller
from fusecopy.reporting.clonerecords import Told
from fusecopy.reporting.flows import Carried, Declined, Side
from fusecopy.reporting.kernelrefusals import RefusedByKernel
from fusecopy.reporting.pairing import Pair
from fusecopy.reporting.undispatched import Undispatched

log = logging.getLogger(__name__)

REMEMBERED = 4096
"""Files whose last copy `user.fusecopy.copy` still tells."""

UNSEEN = "With passthrough the kernel moves the bytes from file to file, unseen."

BY_DRIVER: dict[str, Dispatch] = {
    "copy_file_range": "fallback",
    "sendfile": "bypassed",
    "splice": "bypassed",
    "read": "bypassed",
    "write": "bypassed",
    "mmap": "bypassed",
}


class Destination(Protocol):
    """A file of the backing that something was copied into."""

    @property
    def file(self) -> FileId:
        """Which file it is."""

    def path(self) -> bytes:
        """Its path, relative to the mount's root."""


class Reporter:
    """Makes records and hands them to `put`, which must not block."""

    def __init__(self, put: Callable[[Record | Lines], None], undispatched: Undispatched) -> None:
        self._put = put
        self._undispatched = undispatched
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._last: dict[FileId, Copy | bytes] = {}

    @contextmanager
    def counting_loss(self, count: int = 1) -> Iterator[None]:
        """Whatever raises while a record, or so many, are made costs those and no other: they count as lost,
        with the reason."""
        try:
            yield
        except Exception as error:
            log.exception("a record was lost")
            self._put(Lost(timestamp(), count, f"{type(error).__name__}: {error}"))

    def last_copy(self, file: FileId) -> bytes | None:
        """The record of the last copy into a file, as one line of JSON."""
        with self._lock:
            last = self._last.get(file)
        return msgspec.json.encode(last) if isinstance(last, Copy) else last and last.rstrip()

    def carried(self, copy: Carried, destination: Destination) -> None:
        """Report a copy that the server carried or refused."""
        refusal = copy.refusal
        self._report(
            destination,
            copy.caller,
            copy.source,
            (copy.begun_ns, copy.ended_ns),
            asked=copy.asked,
            off_in=copy.off_in,
            off_out=copy.off_out,
            length=copy.length,
            copied=copy.copied,
            dispatch=copy.dispatch,
            path=str(max(copy.paths, key=lambda path: copy.paths[path])) if copy.paths else "-",
            paths={str(path): count for path, count in copy.paths.items()},
            attempts=[_attempt(attempt) for attempt in copy.attempts],
            shared_before=copy.shared_before,
            **_proven(copy.copied, copy.sharing),
            errno=_name(copy.errno),
            cause=refusal.cause if refusal else None,
            remedy=refusal.remedy if refusal else None,
            requests=Requests(copies=copy.requests),
            driver=copy.driver,
            paired="request",
            evidence=str(Evidence.REQUEST),
        )

    def cloned(self, clones: Sequence[Told]) -> None:
        """Report what was cloned whole, in this order."""
        times = timestamps(clone.range.ended_ns for clone in clones)
        lines = []
        with self._lock:
            for clone, time in zip(clones, times, strict=True):
                line = clone.lines.line(next(self._numbers), time, clone.names, clone.range)
                lines.append(line)
                if clone.file:
                    self._remember(clone.file, line)
            by_path = itertools.groupby(zip(clones, lines, strict=True), key=lambda pair: pair[0].lines.path)
            for path, pairs in by_path:
                self._put(_lines_of(path, list(pairs)))

    def fallback(self, declined: Declined, destination: Destination, wrote: Moved, unseen: bool) -> None:
        """Report a copy that the server declined and the kernel, if there were writes, moved.

        What else the thread wrote through the same handle afterwards is in the requests, not in the bytes.
        Where the kernel writes the destination by itself (`unseen`), it is not known what it moved.
        """
        failure = wrote.error or declined.read.error
        causes = (declined.cause, UNSEEN if unseen else "", _ended(failure, bool(wrote.error)))
        seq = self._report(
            destination,
            declined.caller,
            declined.source,
            (declined.begun_ns, wrote.last_ns or declined.begun_ns),
            asked="copy_file_range",
            off_in=declined.off_in,
            off_out=declined.off_out,
            length=declined.length,
            dispatch="fallback",
            attempts=[_attempt(attempt) for attempt in declined.attempts],
            errno=_name(failure),
            cause=" ".join(filter(None, causes)),
            remedy=declined.remedy or None,
            requests=_requests(declined.requests, declined.read, wrote),
            driver="copy_file_range",
            paired="request",
            evidence=str(Evidence.REQUEST),
            **_spliced(None if unseen else min(wrote.bytes, declined.length)),
        )
        if declined.errno == errno.ENOSYS:
            self._undispatched.no_copies(seq)

    def moved(self, pair: Pair, writer: Side, destination: Destination) -> None:
        """Report a copy that reached the server as READs and WRITEs, without a copy request."""
        driver, wrote, reads = writer.driver.name, writer.moved, pair.reads
        dispatch = BY_DRIVER.get(driver, "unknown")
        path = {"fallback": "kernel-splice", "bypassed": "client"}.get(dispatch, UNKNOWN)
        if dispatch == "fallback":
            cause, remedy = self._undispatched.fallback(pair.device)
        elif dispatch == "bypassed":
            cause, remedy = self._undispatched.bypass(driver, writer.caller.comm, pair.sparse)
        else:
            cause, remedy = self._undispatched.unseen(wrote.requests, wrote.pipe_requests)
        failure, copied = wrote.error or reads.error, pair.span.length
        ended = _ended(failure, bool(wrote.error))
        self._report(
            destination,
            writer.caller,
            pair.source,
            (min(reads.first_ns, wrote.first_ns) if reads.requests else wrote.first_ns, wrote.last_ns),
            asked="copy_file_range" if dispatch == "fallback" else "-",
            off_in=pair.span.off_in,
            off_out=pair.span.off_out,
            length=copied,
            copied=copied,
            dispatch=dispatch,
            path=path,
            paths={path: copied},
            shared=0,
            proof="written",
            rewritten=copied,
            errno=_name(failure),
            cause=" ".join(filter(None, (cause, ended))) or None,
            remedy=remedy or None,
            requests=_requests(0, reads, wrote),
            driver=driver,
            paired=pair.by,
            evidence=str(pair.evidence),
        )

    def refused(self, refused: RefusedByKernel, destination: Destination) -> None:
        """Report an ioctl that the kernel has refused without asking."""
        self._report(
            destination,
            refused.caller,
            refused.source,
            (refused.begun_ns, refused.ended_ns),
            remembered=refused.is_copy,
            asked=refused.asked,
            off_in=0 if refused.asked == "FICLONE" else None,
            off_out=0 if refused.asked == "FICLONE" else None,
            length=refused.length,
            copied=0,
            dispatch="refused",
            path="-",
            shared=0,
            proof="-",
            rewritten=0,
            errno=refused.errno,
            cause=refused.cause,
            remedy=refused.remedy,
            requests=Requests(),
            driver="ioctl",
            paired=refused.paired,
            evidence=refused.evidence,
        )

    def note(self, text: str) -> None:
        """Say something about the log itself."""
        self._put(Note(timestamp(), text))

    def flow(self, writer: Side, destination: Destination) -> None:
        """Report writes for which no source was found."""
        dst, dst_b64 = encode_path(destination.path())
        wrote = writer.moved
        with self._lock:
            self._put(
                Flow(
                    seq=next(self._numbers),
                    time=timestamp(wrote.last_ns),
                    mono_ns=wrote.last_ns,
                    **_who(writer.caller),
                    dst=dst,
                    dst_b64=dst_b64,
                    errno=_name(wrote.error),
                    driver=writer.driver.name,
                    duration_us=(wrote.last_ns - wrote.first_ns) // 1000,
                    requests=_requests(0, Moved(), wrote),
                )
            )

    def tree(
        self, caller: Caller, source: bytes, destination: bytes, when: tuple[int, int], **fields: object
    ) -> None:
        """Report a tree, after the copies of its files. `fields` are the record's own."""
        src, src_b64 = encode_path(source)
        dst, dst_b64 = encode_path(destination)
        with self._lock:
            self._put(
                Tree(
                    seq=next(self._numbers),
                    time=timestamp(when[1]),
                    mono_ns=when[1],
                    duration_us=(when[1] - when[0]) // 1000,
                    **_who(caller),
                    src=src,
                    src_b64=src_b64,
                    dst=dst,
                    dst_b64=dst_b64,
                    **fields,  # type: ignore[arg-type]
                )
            )

    def _report(
        self,
        destination: Destination,
        caller: Caller,
        source: bytes,
        when: tuple[int, int],
        remembered: bool = True,
        **fields: object,
    ) -> int:
        src, src_b64 = encode_path(source)
        dst, dst_b64 = encode_path(destination.path())
        with self._lock:
            seq = next(self._numbers)
            record = Copy(
                seq=seq,
                time=timestamp(when[1]),
                mono_ns=when[1],
                duration_us=(when[1] - when[0]) // 1000,
                **_who(caller),
                src=src,
                src_b64=src_b64,
                dst=dst,
                dst_b64=dst_b64,
                **fields,  # type: ignore[arg-type]
            )
            self._put(record)
            with suppress(OSError):  # a backing that has lost the file does not tell which it was
                if remembered:
                    self._remember(destination.file, record)
        return seq

    def _remember(self, file: FileId, record: Copy | bytes) -> None:
        self._last.pop(file, None)
        self._last[file] = record
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]


class _Proven(TypedDict):
    shared: int | None
    holes: int
    unprovable: int
    proof: str
    rewritten: int | None


def _proven(copied: int, sharing: Sharing) -> _Proven:
    """What every byte that was copied came to: shared, rewritten, a hole, or unprovable, of which nothing is
    told of the others either."""
    unprovable = sharing.unprovable > 0
    proof = sharing.proof
    if unprovable and proof is not Proof.CHANGED:
        proof = Proof.UNPROVABLE
    return _Proven(
        shared=None if unprovable else sharing.shared,
        holes=sharing.holes,
        unprovable=sharing.unprovable,
        proof=str(proof) if copied else "-",
        rewritten=rewritten(copied, sharing),
    )


class _Spliced(TypedDict):
    copied: int | None
    path: str
    paths: dict[str, int]
    shared: int | None
    unprovable: int | None
    proof: str
    rewritten: int | None


def _spliced(copied: int | None) -> _Spliced:
    """What is told of the bytes that the kernel's splice moved; None where it is not known how many."""
    return _Spliced(
        copied=copied,
        path="-" if copied == 0 else "kernel-splice",
        paths={"kernel-splice": copied} if copied else {},
        shared=None if copied is None else 0,
        unprovable=copied and 0,
        proof="unprovable" if copied is None else "written",
        rewritten=copied,
    )


class _Who(TypedDict):
    pid: int
    comm: str
    uid: int
    parent: int
    exe: str
    args: str


def _who(caller: Caller) -> _Who:
    return _Who(
        pid=caller.pid,
        comm=caller.comm,
        uid=caller.uid,
        parent=caller.parent,
        exe=caller.exe,
        args=caller.args,
    )


def _requests(copies: int, read: Moved, wrote: Moved) -> Requests:
    return Requests(copies, read.requests, read.bytes, wrote.requests, wrote.bytes)


def _ended(code: int, writing: bool) -> str:
    """What ended a stream of requests, in words; nothing where nothing did."""
    if not code:
        return ""
    what = "Writing the destination" if writing else "Reading the source"
    return f"{what} failed in the end: {os.strerror(code)}."


def _attempt(attempt: Try) -> Attempt:
    return Attempt(
        str(attempt.path),
        attempt.offset_in,
        attempt.offset_out,
        attempt.length,
        attempt.carried,
        _name(attempt.errno),
        attempt.reason,
    )


def _name(code: int) -> str | None:
    return errnos.name(code) if code else None


def _lines_of(path: str, cloned: Sequence[tuple[Told, bytes]]) -> Lines:
    """Copies that one path carried, with their lines, for the log."""
    ranges = [clone.range for clone, _ in cloned]
    return Lines(
        [line for _, line in cloned],
        path,
        copied=sum(range_.copied for range_ in ranges),
        shared=sum(range_.shared for range_ in ranges if not range_.unprovable),
        rewritten=sum(range_.rewritten for range_ in ranges),
        durations_us=[(range_.ended_ns - range_.begun_ns) // 1000 for range_ in ranges],
    )
