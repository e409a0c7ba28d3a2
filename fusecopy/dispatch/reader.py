"""Reading the dispatch log: records in order, over rotated files, to the end or as they come."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from fusecopy.dispatch.parts import Place, raw_lines
from fusecopy.dispatch.records import SCHEMA, Header, Record
from fusecopy.errors import LogError

_decoder = msgspec.json.Decoder(Record)


class Line(NamedTuple):
    """A record and the line it was read from, unknown fields included."""

    record: Record
    text: bytes


class _Kind(msgspec.Struct):
    """What any record, of any schema, can be told by."""

    type: str = ""
    schema: int = 0


def read(path: Path) -> Iterator[Record]:
    """All records of the log at `path` and of its rotated files, oldest first.

    Fields and record types that are not known, and lines that were cut by a crash, are passed over.

    Raises:
        LogError: the log is missing, unreadable, of a newer schema, or not a dispatch log.
    """
    return (line.record for line in lines(path))


def current(path: Path) -> Iterator[Record]:
    """As `read`, from the header of the newest mount on."""
    return (line.record for line in lines(path, since_mount=True))


def follow(path: Path, stop: threading.Event) -> Iterator[Record]:
    """As `current`, and then the records that come, until `stop` is set."""
    return (line.record for line in lines(path, since_mount=True, stop=stop))


def lines(path: Path, *, since_mount: bool = False, stop: threading.Event | None = None) -> Iterator[Line]:
    """What `read`, `current` and `follow` are made of: records with their lines as they stand in the file."""
    start = _newest_mount(path) if since_mount else None
    for number, (_, text) in enumerate(raw_lines(path, start, stop)):
        if number == 0 and not text.startswith(b"{"):
            raise LogError(
                f"{path} is not a dispatch log", "Name a file that fusecopy wrote, or the mount point."
            )
        record = _decode(text, path)
        if record is not None:
            yield Line(record, text)


def _newest_mount(path: Path) -> Place | None:
    """Where the newest mount's first header stands.

    A header equal to the one before is the same mount's, written again.
    """
    header: Header | None = None
    place: Place | None = None
    for where, text in raw_lines(path):
        record = _decode(text, path) if b'"header"' in text else None
        if isinstance(record, Header) and record != header:
            header, place = record, where
    return place


def _decode(text: bytes, path: Path) -> Record | None:
    """The record of one line; None where it has none that is known here."""
    try:
        record: Record = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _check_schema(_kind(text), path)
        return None
    if isinstance(record, Header):
        _check_schema(_Kind("header", record.schema), path)
    return record


def _kind(text: bytes) -> _Kind:
    try:
        return msgspec.json.decode(text, type=_Kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Kind()


def _check_schema(kind: _Kind, path: Path) -> None:
    if kind.type == "header" and kind.schema > SCHEMA:
        raise LogError(
            f"{path} is of schema {kind.schema}, and this fusecopy reads up to {SCHEMA}",
            "Read it with the fusecopy that wrote it, or a newer one.",
        )
