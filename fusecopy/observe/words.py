"""A trace in words, for a terminal."""

from collections import Counter
from collections.abc import Iterable, Iterator

from fusecopy.copying import errnos
from fusecopy.dispatch.records import Copy, Flow
from fusecopy.observe.calls import COPIES, Request, SystemCall
from fusecopy.observe.recording import Recording
from fusecopy.observe.stories import MOVES, Step, Story, Told, errors, moved, overlapping
from fusecopy.terminal import printable

UNSEEN = "passthrough, so reads, writes, sendfile and splice send no requests"

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

WHOLE_FILE = 1 << 62
"""cp asks for the rest of a file with a number beyond every size."""


def amount(count: int) -> str:
    """Bytes, in a unit where that is exact: 8 MiB, 70000 bytes."""
    if count >= WHOLE_FILE:
        return "to the end"
    for unit, name in UNITS:
        if count and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes" if count != 1 else "1 byte"


def story_lines(story: Story, recording: Recording) -> Iterator[str]:
    """One copy: its program and files, then each step with what became of it."""
    yield printable(_title(story))
    for steps in _alike(story.steps):
        yield f"  {_asked(steps)} -> {_became(steps)}"
        if sent := _sent(steps):
            yield f"    kernel: {sent}"
        yield from (f"    server: {text}" for text in _served(steps, recording))


def left_lines(told: Told) -> Iterator[str]:
    """Records that no traced call explains: other programs' copies, or mapped pages written back."""
    for mount, record in told.left:
        yield printable(f"{record.comm}[{record.pid}] {_files(record)} in {mount.mountpoint}")
        yield f"    server: {_recorded(record)}"


def unseen_lines(recording: Recording) -> Iterator[str]:
    """Mounts in which more may have been moved than a trace shows."""
    yield from (f"{mount.mountpoint}: {UNSEEN}" for mount in recording.mounts if mount.passthrough)


def loss(recording: Recording) -> str:
    """What was lost and is missing from a trace; empty where nothing was."""
    lost = []
    if recording.lost_events:
        lost.append(f"{recording.lost_events} events of the kernel were lost: trace again with --buffer")
    if recording.lost_records:
        lost.append(f"{recording.lost_records} records of the dispatch log were lost")
    return "; ".join(lost)


def _title(story: Story) -> str:
    who = f"{story.process.comm}[{story.process.pid}]"
    files = " {} -> {}".format(*story.files) if story.files else ""
    return f"{who}{files} in {story.mount.mountpoint}" if story.mount else f"{who}{files}"


def _files(record: Copy | Flow) -> str:
    return f"{record.src} -> {record.dst}" if isinstance(record, Copy) else f"-> {record.dst}"


def _alike(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Steps in a row that tell the same, as the many calls of a loop over sendfile(2) do."""
    group: list[Step] = []
    for step in steps:
        if group and _kind(group[0]) != _kind(step):
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _kind(step: Step) -> tuple[str, str, bool]:
    return step.driver, step.dispatch, step.call is None or step.call.result > 0


def _asked(steps: list[Step]) -> str:
    call = steps[0].call
    if call is None:
        return "read, write or mapped pages"
    if len(steps) > 1:
        return f"{call.name}, {len(steps)} calls"
    arguments = [str(fd) for fd in (call.source, call.destination) if fd is not None]
    arguments += [amount(call.asked)] if call.asked is not None else []
    return f"{call.name}({', '.join(arguments)})"


def _became(steps: list[Step]) -> str:
    step, call = steps[0], steps[0].call
    took = f"{sum(step.ended - step.begun for step in steps) / 1e6:.1f} ms"
    if call is None:
        return f"{amount(sum(s.written for s in steps))} written, bypassed, {took}"
    if call.result < 0:
        return f"{errnos.name(-call.result)}, {_refused(step, call)}"
    if call.name.startswith("ioctl"):
        return f"{call.result}, done without any request to a watched mount"
    if not call.result:
        return "0" if step.requests else "0, the end of the source"
    copied = amount(moved(steps))
    if not step.requests and step.dispatch == "unknown":
        return f"{copied}, no request to a watched mount, {took}"
    return f"{copied}, {step.dispatch}, {took}"


def _refused(step: Step, call: SystemCall) -> str:
    if step.requests:
        return "refused"
    if call.name.startswith("ioctl") and step.mount and errnos.name(-call.result) == "EOPNOTSUPP":
        return "the kernel refuses it on FUSE without asking the server"
    return "refused by the kernel, no server was asked"


def _sent(steps: list[Step]) -> str:
    """Requests by opcode: those to copy and those that move bytes, with the errors answered."""
    requests = [request for step in steps for request in step.requests]
    failed = errors(requests)
    counts = Counter(request.opcode for request in requests if request.opcode in (*COPIES, *MOVES))
    return ", ".join(f"{count} {opcode}{_errors(opcode, failed)}" for opcode, count in counts.items())


def _errors(opcode: str, failed: Counter[tuple[str, str]]) -> str:
    names = [(name, count) for (of, name), count in failed.items() if of == opcode]
    return "".join(f" answered {name}" if count == 1 else f" ({count} {name})" for name, count in names)


def _served(steps: list[Step], recording: Recording) -> Iterator[str]:
    """What the server's log says; where it keeps none, what its own processes called meanwhile."""
    records = {id(record): record for step in steps for record in step.records}
    yield from (_recorded(record) for record in records.values())
    if not records:
        copies = [request for step in steps for request in step.copies]
        yield from (text for copy in copies for text in carried(copy, recording))


def carried(copy: Request, recording: Recording) -> Iterator[str]:
    """What server processes called between a copy request and its answer."""
    for call in overlapping(copy.begun, copy.ended, recording.served):
        result = errnos.name(-call.result) if call.result < 0 else str(call.result)
        yield f"{call.process.comm}[{call.process.pid}] {call.name} -> {result}"


def _recorded(record: Copy | Flow) -> str:
    if isinstance(record, Flow):
        return f"{amount(record.requests.write_bytes)} written, no source seen in the mount ({record.driver})"
    paths = ", ".join(f"{path} {amount(count)}" for path, count in record.paths.items())
    if record.copied is None:
        paths = f"{record.path}, unknown how much"
    parts = [record.dispatch, *([paths] if paths else []), *([record.errno] if record.errno else [])]
    if record.dispatch == "dispatched":
        known = "unprovable" if record.shared is None else amount(record.shared)
        parts.append(f"{known} shared ({record.proof})")
    parts.append(f"{record.duration_us / 1000:.1f} ms")
    return ", ".join(parts) + (f": {printable(record.cause)}" if record.cause else "")
