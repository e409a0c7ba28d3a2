"""Judge a recording: whether program, kernel, server and the extents on the backing agree."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from fusecopy import asking, mounts
from fusecopy.copying import errnos
from fusecopy.copying.sharing import parts, summed
from fusecopy.dispatch.records import Copy, decode_path
from fusecopy.observe import words
from fusecopy.observe.calls import COPIES, Request, SystemCall
from fusecopy.observe.recording import Recording
from fusecopy.observe.stories import Step, Told, errors, moved, overlapping
from fusecopy.observe.watched import Watched

CARRYING = ("copy_file_range", "sendfile", "ioctl FICLONE", "ioctl FICLONERANGE")
"""A server's own calls that leave bytes in the destination. A splice may as well bring a request's data."""

CLOCK_TICK = timedelta(milliseconds=10)
"""File times are of the last tick, of the coarsest kernel."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        what: the two sides compared.
        agrees: None where it could not be checked.
        text: both numbers and whose they are, or why it could not be checked; empty for an agreement.
    """

    what: str
    agrees: bool | None
    text: str = ""


Judge = Callable[[Recording, Told], Iterator[Check]]


def judge(recording: Recording, told: Told) -> list[Check]:
    """Every check of a recording."""
    judges: list[Judge] = [_program_and_kernel, _twice, _kernel_and_server, _written, _shared, _unseen]
    return [check for each in judges for check in each(recording, told)]


def _program_and_kernel(recording: Recording, told: Told) -> Iterator[Check]:
    """What a call returned, against what the kernel's requests during the call amount to."""
    for step in _steps(told):
        if step.call and _leaves_bytes(step, step.call):
            passed = step.mount is not None and step.mount.passthrough
            unseen = "passthrough, no request shows it" if passed else "no request shows it"
            yield _compare("program and kernel", _who(step), *_sides(step, step.call), unseen)


def _leaves_bytes(step: Step, call: SystemCall) -> bool:
    """Whether the requests of a call can say anything of its result: reading into a pipe writes nothing."""
    if call.name == "copy_file_range":
        return bool(step.requests) and (call.result != 0 or bool(step.copies))
    return call.name in ("sendfile", "splice") and step.written > 0


def _sides(step: Step, call: SystemCall) -> tuple[str, str | None]:
    """What the program got, and what the kernel's side amounts to; None where the requests do not show it."""
    if call.result < 0:
        answered = {f"{call.name} -> {name}" for _, name in errors(step.requests)}
        got = f"{call.name} -> {errnos.name(-call.result)}"
        return got, got if got in answered else ", ".join(sorted(answered)) or None
    if step.dispatch == "dispatched":
        successes = sum(request.errno == 0 for request in step.copies)
        return "1 request served", f"{successes} request{'s' * (successes != 1)} served"
    return f"{call.result} bytes", f"{step.written} bytes" if step.written else None


def _twice(recording: Recording, told: Told) -> Iterator[Check]:
    """Copies that a server made and then denied, so that the kernel or the program makes them again."""
    for step in _steps(told):
        for copy in step.copies:
            if copy.errno and (made := _made(copy, recording)):
                yield _denied(step, copy, made, recording)


def _made(copy: Request, recording: Recording) -> list[SystemCall]:
    """What the servers' own calls carried between a request and its answer."""
    served = (call for call in recording.served if call.name in CARRYING)
    carried = (
        call for call in served if call.result > 0 or (call.name.startswith("ioctl") and not call.result)
    )
    return overlapping(copy.begun, copy.ended, carried)


def _denied(step: Step, copy: Request, made: list[SystemCall], recording: Recording) -> Check:
    what = "server's calls and answers"
    others = [
        request
        for request in recording.requests
        if request is not copy and request.opcode in COPIES and request.errno == 0
    ]
    if any(overlapping(other.begun, other.ended, made) for other in others):
        return Check(what, None, f"{_who(step)}: another copy was served at the same time")
    done = ", ".join(f"{call.name} -> {call.result}" for call in made)
    name = errnos.name(copy.errno or 0)
    return Check(
        what,
        False,
        f"{_who(step)}: copied twice: the server made the copy ({done}) and then answered {copy.opcode} with"
        f" {name}; afterwards {step.written} bytes were written by the kernel",
    )


def _kernel_and_server(recording: Recording, told: Told) -> Iterator[Check]:
    """Every call that reached a server with a log, against its record; and records that no call explains."""
    what = "kernel and server"
    records: dict[int, tuple[Copy, list[Step]]] = {}
    for step in _steps(told):
        found = [record for record in step.records if isinstance(record, Copy)]
        for record in found:
            records.setdefault(id(record), (record, []))[1].append(step)
        if not found and step.requests and step.mount and step.mount.log and step.driver == "copy_file_range":
            yield Check(
                what, False, f"{_who(step)}: {step.dispatch}, {step.moved} bytes; no record in the log"
            )
    for record, steps in records.values():
        if record.driver in ("copy_file_range", "sendfile", "splice"):
            why = "passthrough, the record cannot say how many"
            yield _compare(what, _who(steps[0]), _seen(steps), _recorded(record), why)
    for mount, left in told.left:
        if left.pid in recording.family.pids:
            # A call that fusecopy run serves is answered before the tracepoints of system calls, and those of
            # fusecopy clone are no copies to them.
            unseen = left.driver == "ioctl"
            why = "served by an ioctl of fusecopy's own, no tracepoint shows it" if unseen else "no call"
            who = f"{left.comm}[{left.pid}] in {mount.mountpoint}"
            yield Check(what, None if unseen else False, f"{who}: record {left.seq}, {why}")


def _seen(steps: list[Step]) -> str:
    copies = sum(len(step.copies) for step in steps)
    return f"{steps[0].dispatch}, {moved(steps)} bytes, {copies} copy requests"


def _recorded(record: Copy) -> str | None:
    if record.copied is None:
        return None
    return f"{record.dispatch}, {record.copied} bytes, {record.requests.copies} copy requests"


def _written(recording: Recording, told: Told) -> Iterator[Check]:
    """Bytes in the WRITE requests of each process, against those in the records of the log."""
    for mount in recording.mounts:
        if not mount.log:
            continue
        kernel = _sent_bytes(recording, mount)
        server = Counter[int]()
        for record in recording.records[mount.connection]:
            server[record.pid] += record.requests.write_bytes
        for pid in sorted(kernel):
            # Mapped pages are sent in a process's context, but as the kernel's own writes (fuse_writepages).
            mapped = max(0, min(kernel[pid] - server[pid], server[0]))
            server[0] -= mapped
            who = f"process {pid} in {mount.mountpoint}"
            yield _compare("bytes written", who, f"{kernel[pid]} bytes", f"{server[pid] + mapped} bytes")


def _sent_bytes(recording: Recording, mount: Watched) -> Counter[int]:
    sent = Counter[int]()
    for request in recording.requests:
        if request.written and request.connection == mount.connection and request.thread in recording.family:
            sent[recording.family.process(request.thread, request.begun).pid] += request.written
    return sent


def _shared(recording: Recording, told: Told) -> Iterator[Check]:
    """Bytes that records say are shared, against FIEMAP on the backing now."""
    for mount in recording.mounts:
        for record in recording.records[mount.connection]:
            if isinstance(record, Copy) and record.shared and mount.backing:
                who = f"{record.comm}[{record.pid}] {record.src} -> {record.dst} in {mount.mountpoint}"
                now = _shared_now(record, os.fsencode(mount.backing))
                unseen = "a file is gone or was changed since"
                yield _compare("server and extents", who, f"{record.shared} bytes shared", now, unseen)


def _unseen(recording: Recording, told: Told) -> Iterator[Check]:
    """What no request shows, so that nothing above has looked at it."""
    for mount in recording.mounts:
        if mount.passthrough:
            yield Check("reads and writes", None, f"{mount.mountpoint}: {words.UNSEEN}")


def _shared_now(record: Copy, backing: bytes) -> str | None:
    """None where a file is gone or was changed since."""
    # A source in another mount has an absolute path, and extents only behind that.
    source = mounts.behind(os.path.join(backing, decode_path(record.src, record.src_b64)))
    destination = os.path.join(backing, decode_path(record.dst, record.dst_b64))
    limit = (datetime.fromisoformat(record.time) + CLOCK_TICK).timestamp()
    with suppress(OSError), ExitStack() as stack:
        for file in (source, destination):
            asking.look(os.fsdecode(file))
        theirs, ours = (stack.enter_context(open(file, "rb")) for file in (source, destination))
        if record.copied is None or max(os.fstat(file.fileno()).st_mtime for file in (theirs, ours)) > limit:
            return None
        if record.off_in is None or record.off_out is None:
            return None
        fds = (theirs.fileno(), record.off_in, ours.fileno(), record.off_out, record.copied)
        return f"{summed(parts(*fds)).shared} bytes shared"
    return None


def _compare(what: str, who: str, one: str, other: str | None, unseen: str = "") -> Check:
    if other is None:
        return Check(what, None, f"{who}: {one}; {unseen}")
    return Check(what, True) if one == other else Check(what, False, f"{who}: {one} against {other}")


def _steps(told: Told) -> Iterator[Step]:
    return (step for story in told.stories for step in story.steps)


def _who(step: Step) -> str:
    where = f" in {step.mount.mountpoint}" if step.mount else ""
    return f"{step.process.comm}[{step.process.pid}] {step.driver}{where}"
