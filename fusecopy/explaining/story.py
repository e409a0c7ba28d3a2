"""One record of a copy in words."""

from collections.abc import Iterator
from typing import NamedTuple

from fusecopy.copying.records import Refusal
from fusecopy.dispatch.records import Attempt, Copy
from fusecopy.explaining.evidence import Evidence

BY_KERNEL = {"tracepoint": "seen by its tracepoints", "inferred": "this is inferred"}
"""Evidence of what the kernel refused by itself."""


class Line(NamedTuple):
    """A labelled line; an empty label goes on with the one before."""

    label: str
    text: str


def tell(copy: Copy, evidence: Evidence) -> Iterator[Line]:
    """The story in order: what was asked, what became of it and why, and what the files are now."""
    yield Line("copy", f"{copy.seq}, {copy.time}, took {copy.duration_us} us")
    yield Line("by", f"{copy.comm}, pid {copy.pid}, user {copy.uid}")
    yield Line("asked", _asked(copy))
    yield Line("dispatch", f"{copy.dispatch}: {_dispatch(copy)}")
    yield from _labelled("attempts", _attempts(copy, evidence))
    yield Line("copied", _carried(copy))
    yield Line("shared", _shared(copy))
    yield Line("rewritten", "unknown" if copy.rewritten is None else f"{copy.rewritten} bytes")
    yield from _why(copy, evidence)
    yield Line("now", "looked up at this moment, by the names in the record:")
    yield Line("  source", evidence.source)
    yield Line("  dest.", evidence.destination)


def _labelled(label: str, texts: Iterator[str]) -> Iterator[Line]:
    for text in texts:
        yield Line(label, text)
        label = ""


def _asked(copy: Copy) -> str:
    places = [offset if offset is not None else "an unknown offset" for offset in (copy.off_in, copy.off_out)]
    what = f"{copy.length} bytes from {copy.src} at {places[0]} to {copy.dst} at {places[1]}"
    return f"for no copy; it moved {what}" if copy.asked == "-" else f"{copy.asked} of {what}"


def _dispatch(copy: Copy) -> str:
    """What the kernel did with the copy, in words."""
    match copy.dispatch:
        case "dispatched":
            return "the kernel sent the server a copy request, and the server copied"
        case "fallback":
            asked = "the server declined" if copy.requests.copies else "the server was not asked"
            moved = "unseen" if copy.copied is None else _moved(copy)
            return f"{asked}, and the kernel moved the bytes by its own splice ({moved})"
        case "bypassed":
            return f"the program moved the bytes itself by {copy.driver}, without an offload ({_moved(copy)})"
        case "refused" if copy.evidence in BY_KERNEL:
            return f"the kernel refused it and asked no server ({BY_KERNEL[copy.evidence]})"
        case "refused":
            return f"no byte was copied, for {copy.errno}"
        case _:
            return f"the system call that moved the bytes could not be seen ({_moved(copy)})"


def _moved(copy: Copy) -> str:
    return f"{copy.requests.reads} READs, {copy.requests.writes} WRITEs"


def _attempts(copy: Copy, evidence: Evidence) -> Iterator[str]:
    for number, (attempt, rule) in enumerate(zip(copy.attempts, evidence.rules, strict=True), 1):
        what = f"{attempt.path} of {attempt.length} bytes at {attempt.off_out}"
        yield f"{number}. {what}: {_result(attempt, rule, copy.cause)}"
    if not copy.attempts:
        yield "none by the server"


def _result(attempt: Attempt, rule: Refusal | None, cause: str | None) -> str:
    reason = attempt.reason
    if attempt.carried == attempt.length:
        return f"copied all, {reason}" if reason else "copied all"
    if rule and not reason:
        reason = "for the cause below" if rule.cause == cause else f"by what the files are now: {rule.cause}"
    count = f"copied {attempt.carried}" if attempt.carried else "copied nothing"
    return ", ".join(part for part in (count, attempt.errno, reason) if part)


def _carried(copy: Copy) -> str:
    if copy.copied is None:
        return f"unknown, of {copy.length} bytes"
    by = ", ".join(f"{path} {count}" for path, count in copy.paths.items())
    return f"{copy.copied} of {copy.length} bytes" + (f": {by}" if by else "")


def _shared(copy: Copy) -> str:
    if copy.copied is None:
        return "unknown"
    if not copy.copied:
        return "nothing was copied, so there was nothing to prove"
    if copy.proof == "changed meanwhile":
        return "unprovable: somebody else changed the source or the destination before it was proven"
    if copy.shared is None:
        return "unprovable: the backing does not say where its files lie, or the data lies inline in metadata"
    holes = f", {copy.holes} more are holes" if copy.holes else ""
    known = {
        "fiemap": "proven after the copy by the extents of both files (FIEMAP)",
        "written": "every byte was moved by writes, which share nothing",
    }
    before = f"; {copy.shared_before} were shared before" if copy.shared_before else ""
    return f"{copy.shared} of {copy.copied} bytes{holes}; {known.get(copy.proof, copy.proof)}{before}"


def _why(copy: Copy, evidence: Evidence) -> Iterator[Line]:
    """The record's cause, found when the copy was made; else the one that fits the files now."""
    if copy.cause:
        yield Line("cause", ": ".join(part for part in (copy.errno, copy.cause) if part))
        if copy.remedy:
            yield Line("remedy", copy.remedy)
    elif evidence.unshared:
        yield Line("cause", f"by what the files are now: {evidence.unshared.cause}")
        yield Line("remedy", evidence.unshared.remedy)
