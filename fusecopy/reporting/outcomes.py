"""From what became of a copy to its record, which wants but its number: one function for each outcome."""

import os
from functools import partial
from typing import TypedDict

from fusecopy.copying import errnos
from fusecopy.copying.contents import Evidence
from fusecopy.copying.records import Attempt as Try
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import rewritten
from fusecopy.dispatch.records import Attempt, Copy, Dispatch, Flow, Requests, Tree, encode_path, timestamp
from fusecopy.ioctls import Answer
from fusecopy.native.drivers import UNKNOWN
from fusecopy.native.files import Moved
from fusecopy.observe.caller import Caller
from fusecopy.reporting.flows import Carried, Declined, Side
from fusecopy.reporting.kernelrefusals import RefusedByKernel
from fusecopy.reporting.pairing import Pair
from fusecopy.reporting.undispatched import Undispatched

UNSEEN = "With passthrough the kernel moves the bytes from file to file, unseen."

BY_DRIVER: dict[str, Dispatch] = {
    "copy_file_range": "fallback",
    "sendfile": "bypassed",
    "splice": "bypassed",
    "read": "bypassed",
    "write": "bypassed",
    "mmap": "bypassed",
}


def carried(copy: Carried, destination: bytes) -> partial[Copy]:
    """Of a copy that the server carried or refused."""
    refusal = copy.refusal
    return partial(
        Copy,
        **_head(copy.caller, copy.begun_ns, copy.ended_ns),
        **_sides(copy.source, destination),
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


def fallback(declined: Declined, destination: bytes, wrote: Moved, unseen: bool) -> partial[Copy]:
    """Of a copy that the server declined and the kernel, if there were writes, moved.

    What else the thread wrote through the same handle afterwards is in the requests, not in the bytes.
    Where the kernel writes the destination by itself (`unseen`), it is not known what it moved.
    """
    failure = wrote.error or declined.read.error
    causes = (declined.cause, UNSEEN if unseen else "", _ended(failure, bool(wrote.error)))
    return partial(
        Copy,
        **_head(declined.caller, declined.begun_ns, wrote.last_ns or declined.begun_ns),
        **_sides(declined.source, destination),
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


def moved(pair: Pair, writer: Side, destination: bytes, undispatched: Undispatched) -> partial[Copy]:
    """Of a copy that reached the server as READs and WRITEs, without a copy request."""
    driver, wrote, reads = writer.driver.name, writer.moved, pair.reads
    dispatch = BY_DRIVER.get(driver, "unknown")
    path = {"fallback": "kernel-splice", "bypassed": "client"}.get(dispatch, UNKNOWN)
    if dispatch == "fallback":
        cause, remedy = undispatched.fallback(pair.device)
    elif dispatch == "bypassed":
        cause, remedy = undispatched.bypass(driver, writer.caller.comm, pair.sparse)
    else:
        cause, remedy = undispatched.unseen(wrote.requests, wrote.pipe_requests)
    failure, copied = wrote.error or reads.error, pair.span.length
    begun_ns = min(reads.first_ns, wrote.first_ns) if reads.requests else wrote.first_ns
    ended = _ended(failure, bool(wrote.error))
    return partial(
        Copy,
        **_head(writer.caller, begun_ns, wrote.last_ns),
        **_sides(pair.source, destination),
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


def refused(one: RefusedByKernel, destination: bytes) -> partial[Copy]:
    """Of an ioctl that the kernel has refused without asking."""
    return partial(
        Copy,
        **_head(one.caller, one.begun_ns, one.ended_ns),
        **_sides(one.source, destination),
        asked=one.asked,
        off_in=0 if one.asked == "FICLONE" else None,
        off_out=0 if one.asked == "FICLONE" else None,
        length=one.length,
        copied=0,
        dispatch="refused",
        path="-",
        shared=0,
        proof="-",
        rewritten=0,
        errno=one.errno,
        cause=one.cause,
        remedy=one.remedy,
        requests=Requests(),
        driver="ioctl",
        paired=one.paired,
        evidence=one.evidence,
    )


def flow(writer: Side, destination: bytes) -> partial[Flow]:
    """Of writes for which no source was found."""
    wrote = writer.moved
    dst, dst_b64 = encode_path(destination)
    return partial(
        Flow,
        **_head(writer.caller, wrote.first_ns, wrote.last_ns),
        dst=dst,
        dst_b64=dst_b64,
        errno=_name(wrote.error),
        driver=writer.driver.name,
        requests=_requests(0, Moved(), wrote),
    )


def tree(
    caller: Caller,
    how: str,
    source: bytes,
    destination: bytes,
    when: tuple[int, int],
    answer: Answer,
    at: bytes,
) -> partial[Tree]:
    """Of a tree that was cloned by one request; `at` is where it failed."""
    return partial(
        Tree,
        **_head(caller, *when),
        **_sides(source, destination),
        how=how,
        files=answer.files,
        directories=answer.directories,
        links=answer.links,
        other=answer.others,
        bytes=answer.size,
        shared=answer.shared,
        unprovable=answer.unprovable,
        rewritten=answer.rewritten,
        errno=_name(answer.errno),
        at=at.decode(errors="replace"),
        cause=answer.cause or None,
        remedy=answer.remedy or None,
    )


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


class _Head(TypedDict):
    time: str
    mono_ns: int
    duration_us: int
    pid: int
    comm: str
    uid: int
    parent: int
    exe: str
    args: str


def _head(caller: Caller, begun_ns: int, ended_ns: int) -> _Head:
    """When it was, and who it was."""
    return _Head(
        time=timestamp(ended_ns),
        mono_ns=ended_ns,
        duration_us=(ended_ns - begun_ns) // 1000,
        pid=caller.pid,
        comm=caller.comm,
        uid=caller.uid,
        parent=caller.parent,
        exe=caller.exe,
        args=caller.args,
    )


class _Sides(TypedDict):
    src: str
    src_b64: str | None
    dst: str
    dst_b64: str | None


def _sides(source: bytes, destination: bytes) -> _Sides:
    src, src_b64 = encode_path(source)
    dst, dst_b64 = encode_path(destination)
    return _Sides(src=src, src_b64=src_b64, dst=dst, dst_b64=dst_b64)


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
