"""The records of the dispatch log, one JSON object a line. docs/dispatch-log.md promises their meaning.

Sizes and offsets are bytes, durations microseconds, errnos names. A reader must accept fields that it does
not know. What a copy is told by is in no cycle, so the garbage collector need not look for any (gc=False).
"""

import base64
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from functools import lru_cache
from typing import Literal

import msgspec

SCHEMA = 1
"""Grows when a field changes its meaning or goes; new fields alone do not change it."""

Dispatch = Literal["dispatched", "fallback", "bypassed", "refused", "unknown"]


SEEN = "tracepoint"
INFERRED = "inferred"
"""Evidence of what the kernel refused before it asked the server."""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One try of one path on one range."""

    path: str
    off_in: int
    off_out: int
    length: int
    carried: int
    errno: str | None = None
    reason: str = ""


class Requests(msgspec.Struct, frozen=True, gc=False):
    """The FUSE requests that served one copy or flow, as the server received them."""

    copies: int = 0
    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    write_bytes: int = 0


class Header(msgspec.Struct, frozen=True, tag="header"):
    """First record of a mount's log, repeated unchanged whenever a file is opened (rotation, SIGHUP)."""

    time: str
    schema: int
    fusecopy: str
    pyfuse3: str
    libfuse: str
    kernel: str
    protocol: str
    pid: int
    uid: int
    backing: str
    filesystem: str
    mount: str
    connection: int
    policy: str
    passthrough: bool = False
    backing_b64: str | None = None
    mount_b64: str | None = None
    coherence: str = ""
    transport: str = "/dev/fuse"
    transport_reason: str = ""


class Copy(msgspec.Struct, frozen=True, tag="copy", kw_only=True, gc=False):
    """One copy from one file to another, however it travelled."""

    seq: int
    time: str
    mono_ns: int
    pid: int
    comm: str
    uid: int
    asked: str
    src: str
    dst: str
    src_b64: str | None = None
    dst_b64: str | None = None
    off_in: int | None
    off_out: int | None
    length: int
    copied: int | None
    dispatch: Dispatch
    path: str
    paths: dict[str, int] = {}
    attempts: list[Attempt] = []
    shared: int | None
    shared_before: int | None = None
    holes: int = 0
    unprovable: int | None = 0
    proof: str
    rewritten: int | None
    errno: str | None = None
    cause: str | None = None
    remedy: str | None = None
    duration_us: int
    requests: Requests
    driver: str = "unknown"
    paired: str = ""
    evidence: str = ""
    parent: int = 0
    exe: str = ""
    args: str = ""


class Flow(msgspec.Struct, frozen=True, tag="flow", kw_only=True):
    """WRITE requests of one process into one file for which no source was found."""

    seq: int
    time: str
    mono_ns: int
    pid: int
    comm: str
    uid: int
    dst: str
    dst_b64: str | None = None
    errno: str | None = None
    driver: str = "unknown"
    duration_us: int
    requests: Requests
    parent: int = 0
    exe: str = ""
    args: str = ""


class Tree(msgspec.Struct, frozen=True, tag="tree", kw_only=True):
    """A file or tree cloned by one request. The copies of its files have records of their own, before it."""

    seq: int
    time: str
    mono_ns: int
    pid: int
    comm: str
    uid: int
    src: str
    dst: str
    src_b64: str | None = None
    dst_b64: str | None = None
    how: str
    files: int
    directories: int
    links: int
    other: int
    bytes: int
    shared: int
    unprovable: int
    rewritten: int
    errno: str | None = None
    at: str = ""
    cause: str | None = None
    remedy: str | None = None
    duration_us: int
    parent: int = 0
    exe: str = ""
    args: str = ""


class Policy(msgspec.Struct, frozen=True, tag="policy"):
    """The mount's policy was changed."""

    time: str
    uid: int
    policy: str


class Coherence(msgspec.Struct, frozen=True, tag="coherence"):
    """How long the kernel may believe what it was told of the backing has changed, or all was asked anew."""

    time: str
    coherence: str
    cause: str
    remedy: str = ""


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Something about the log itself that a reader has to know, said once."""

    time: str
    text: str


class Lost(msgspec.Struct, frozen=True, tag="lost"):
    """Records that could not be made or kept (the queue was full), just before this place in the log."""

    time: str
    count: int
    why: str = ""


class Totals(msgspec.Struct, frozen=True):
    """Copies and bytes by dispatch."""

    copies: dict[str, int]
    bytes: dict[str, int]
    shared: int
    rewritten: int


class Footer(msgspec.Struct, frozen=True, tag="footer"):
    """Last record of a mount that ended in order."""

    time: str
    totals: Totals
    lost: int


Record = Header | Copy | Flow | Tree | Policy | Coherence | Note | Lost | Footer
"""Any line of the log."""


def encode_path(raw: bytes) -> tuple[str, str | None]:
    """A path's bytes as the log has them: text, and base64 of the bytes where they are not UTF-8.

    JSON has no way to hold other bytes, so the text then has replacement characters and only the
    second value names the file.
    """
    try:
        return raw.decode(), None
    except UnicodeDecodeError:
        return raw.decode(errors="replace"), base64.b64encode(raw).decode()


def decode_path(text: str, encoded: str | None) -> bytes:
    """The bytes of a path that `encode_path` has encoded."""
    return base64.b64decode(encoded) if encoded else text.encode()


def timestamp(mono_ns: int | None = None) -> str:
    """A moment of CLOCK_MONOTONIC (now, if none is given) as the log has it: RFC 3339, local, milliseconds,
    offset from UTC."""
    return _text(time.time_ns() if mono_ns is None else _began_ns() + mono_ns)


def timestamps(moments: Iterable[int]) -> list[str]:
    """The same of many."""
    began = _began_ns()
    return [_text(began + mono_ns) for mono_ns in moments]


def _began_ns() -> int:
    """When CLOCK_MONOTONIC was 0, in nanoseconds of time.time_ns(), as it is set now."""
    return time.time_ns() - time.monotonic_ns()


def _text(ns: int) -> str:
    second, rest = divmod(ns, 1_000_000_000)
    begin, offset = _second(second)
    return f"{begin}.{rest // 1_000_000:03}{offset}"


@lru_cache(maxsize=1)
def _second(second: int) -> tuple[str, str]:
    """A second as text, before and after its fraction."""
    text = datetime.fromtimestamp(second, timezone.utc).astimezone().isoformat(timespec="seconds")
    return text[:19], text[19:]
