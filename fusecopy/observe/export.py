"""A trace for other programs: JSON, one object a line, and the trace events that Perfetto's viewer opens."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from fusecopy.copying import errnos
from fusecopy.dispatch.records import Copy
from fusecopy.observe.calls import Request
from fusecopy.observe.recording import Recording
from fusecopy.observe.stories import Step, Story, Told, errors

LANES = {"program": 1, "kernel": 2, "server": 3}
"""Shown as processes, in this order."""


def json_lines(recording: Recording, told: Told) -> Iterator[str]:
    """An object for each copy, for each record that belongs to none, and one for the end."""
    for story in told.stories:
        yield json.dumps(_story(story))
    for mount, record in told.left:
        left = {"type": "record", "mount": mount.mountpoint, "record": msgspec.to_builtins(record)}
        yield json.dumps(left)
    yield json.dumps(
        {
            "type": "end",
            "status": recording.status,
            "passthrough": [mount.mountpoint for mount in recording.mounts if mount.passthrough],
            "lost_events": recording.lost_events,
            "lost_records": recording.lost_records,
        }
    )


def chrome(recording: Recording, told: Told) -> str:
    """The Trace Event Format: one lane each for program, kernel and server, on one clock."""
    return json.dumps({"traceEvents": list(_trace_events(recording, told)), "displayTimeUnit": "ns"})


def _story(story: Story) -> dict[str, Any]:
    records = {id(record): record for step in story.steps for record in step.records}
    return {
        "type": "copy",
        "pid": story.process.pid,
        "comm": story.process.comm,
        "mount": story.mount.mountpoint if story.mount else None,
        "src": story.files[0] if story.files else None,
        "dst": story.files[1] if story.files else None,
        "steps": [_step(step) for step in story.steps],
        "records": [msgspec.to_builtins(record) for record in records.values()],
    }


def _step(step: Step) -> dict[str, Any]:
    call = step.call
    return {
        "call": call.name if call else None,
        "thread": step.thread,
        "source_fd": call.source if call else None,
        "destination_fd": call.destination if call else None,
        "asked": call.asked if call else None,
        "copied": step.moved,
        "errno": errnos.name(-call.result) if call and call.result < 0 else None,
        "dispatch": step.dispatch,
        "requests": Counter(request.opcode for request in step.requests),
        "errors": {f"{opcode} {name}": count for (opcode, name), count in errors(step.requests).items()},
        "read_bytes": sum(request.read for request in step.requests),
        "write_bytes": step.written,
        "mono_ns": step.begun,
        "duration_us": (step.ended - step.begun) // 1000,
    }


def _trace_events(recording: Recording, told: Told) -> Iterator[dict[str, Any]]:
    for name, lane in LANES.items():
        yield {"ph": "M", "name": "process_name", "pid": lane, "args": {"name": name}}
        yield {"ph": "M", "name": "process_sort_index", "pid": lane, "args": {"sort_index": lane}}
    for story in told.stories:
        for step in story.steps:
            yield _program_event(story, step)
    for request in recording.requests:
        yield from _span("kernel", request.opcode, request.unique, request.begun, request.ended, _of(request))
    for connection, records in recording.records.items():
        for record in records:
            name = f"{record.dispatch} {record.path}" if isinstance(record, Copy) else "writes"
            begun = record.mono_ns - record.duration_us * 1000
            number = (connection << 32) + record.seq
            details = msgspec.to_builtins(record)
            yield from _span("server", name, number, begun, record.mono_ns, details)


def _program_event(story: Story, step: Step) -> dict[str, Any]:
    return {
        "ph": "X",
        "cat": "program",
        "name": step.driver or "read, write or mapped pages",
        "pid": LANES["program"],
        "tid": step.thread,
        "ts": step.begun / 1000,
        "dur": (step.ended - step.begun) / 1000,
        "args": {"comm": story.process.comm, **_step(step)},
    }


def _of(request: Request) -> dict[str, Any]:
    return {
        "connection": request.connection,
        "thread": request.thread,
        "errno": errnos.name(request.errno) if request.errno else None,
        "sent_bytes": request.sent_bytes,
        "received_bytes": request.received_bytes,
    }


def _span(lane: str, name: str, number: int, begun: int, ended: int, args: Any) -> Iterator[dict[str, Any]]:
    """A pair of asynchronous events: requests under way at once need not lie inside each other."""
    common = {"cat": lane, "name": name, "id": number, "pid": LANES[lane], "tid": LANES[lane]}
    yield {**common, "ph": "b", "ts": begun / 1000, "args": args}
    yield {**common, "ph": "e", "ts": ended / 1000}
