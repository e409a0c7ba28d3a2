"""Reading the dispatch log: records in order, over rotated files, to the end or as they come."""

import threading
from collections.abc import Iterator, Sequence
from itertools import chain, takewhile
from pathlib import Path
from typing import NamedTuple

import msgspec

from fusecopy.dispatch.kinds import Kind, is_record, kind
from fusecopy.dispatch.part import Place
from fusecopy.dispatch.parts import lines_with, raw_blocks
from fusecopy.dispatch.records import SCHEMA, Copy, Flow, Header, Lost, Record, Tree
from fusecopy.errors import LogError

GONE = "older files of the log are gone; mount with -o log_keep=N to keep more"

HEADER_MARK = b'"header"'
"""In every header's line; in another's only as part of a text, where quotation marks are escaped."""

_decoder = msgspec.json.Decoder(Record)


class Line(NamedTuple):
    """A record and the line it was read from, unknown fields included."""

    record: Record
    text: bytes


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
    return chain.from_iterable(line_batches(path, since_mount=since_mount, stop=stop))


def line_batches(
    path: Path, *, since_mount: bool = False, stop: threading.Event | None = None
) -> Iterator[list[Line]]:
    """What `lines` gives, as much at a time as is there; an empty list says that nothing is, for now."""
    for block in _blocks(path, since_mount, stop):
        texts = [line + b"\n" for line in block[:-1].split(b"\n")] if block else []
        records = _decode_all(block, path)
        if len(records) != len(texts):  # some lines have none
            decoded = [_decode(text, path) for text in texts]
            known = [Line(record, text) for record, text in zip(decoded, texts, strict=True) if record]
        else:
            known = list(map(Line, records, texts))
        if known or not block:
            yield known


def batches(
    path: Path, *, since_mount: bool = False, stop: threading.Event | None = None
) -> Iterator[list[Record]]:
    """The records that `line_batches` gives, for views. Where the first mount's beginning is gone, a record
    of that loss stands behind its header, which is not in the log."""
    first = True
    for block in _blocks(path, since_mount, stop):
        if (records := _decode_all(block, path)) or not block:
            if first and (gone := gone_before(records)):
                records.insert(1, Lost(records[0].time, gone, GONE))
            first = first and not records
            yield records


def gone_before(records: Sequence[Record]) -> int:
    """How many records of the first mount are missing before the first ones that are there."""
    mount = next(iter(records), None)
    if not isinstance(mount, Header):
        return 0
    of_mount = takewhile(lambda record: not isinstance(record, Header) or record == mount, records)
    # The least: they are numbered before they are written, by several threads.
    return min((record.seq for record in of_mount if isinstance(record, Copy | Flow | Tree)), default=1) - 1


def _blocks(path: Path, since_mount: bool, stop: threading.Event | None) -> Iterator[bytes]:
    """Blocks of whole lines, which begin as a dispatch log does; LogError where there is not even one."""
    start = _newest_mount(path) if since_mount else None
    first = True
    for block in raw_blocks(path, start, stop):
        if block and first and not is_record(block.partition(b"\n")[0]):
            raise _not_a_log(path)
        first = first and not block
        yield block
    if first and stop is None:
        raise _not_a_log(path)


def _not_a_log(path: Path) -> LogError:
    return LogError(f"{path} is not a dispatch log", "Name a file that fusecopy wrote, or the mount point.")


def _newest_mount(path: Path) -> Place | None:
    """Where the newest mount's first header stands. Looked for from the end: the log may be long.

    A header equal to the one before is the same mount's, written again.
    """
    newest: Header | None = None
    place: Place | None = None
    for where, text in lines_with(path, HEADER_MARK):
        record = _decode(text, path)
        if not isinstance(record, Header):
            continue
        if newest is not None and record != newest:
            break
        newest, place = record, where
    return place


def _decode_all(block: bytes, path: Path) -> list[Record]:
    """The records of whole lines, without those that are not known here."""
    try:
        records: list[Record] = _decoder.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = (_decode(text, path) for text in block[:-1].split(b"\n"))
        return [record for record in decoded if record is not None]
    if HEADER_MARK in block:
        for record in records:
            _check_schema(_kind_of(record), path)
    return records


def _decode(text: bytes, path: Path) -> Record | None:
    """The record of one line; None where it has none that is known here."""
    try:
        record: Record = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _check_schema(kind(text), path)
        return None
    _check_schema(_kind_of(record), path)
    return record


def _kind_of(record: Record | None) -> Kind:
    return Kind("header", record.schema) if isinstance(record, Header) else Kind()


def _check_schema(kind: Kind, path: Path) -> None:
    if kind.type == "header" and kind.schema > SCHEMA:
        raise LogError(
            f"{path} is of schema {kind.schema}, and this fusecopy reads up to {SCHEMA}",
            "Read it with the fusecopy that wrote it, or a newer one.",
        )
