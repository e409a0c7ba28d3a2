"""The log is a promise: a change must be meant, documented, and counted in SCHEMA where it breaks readers."""

import json
import re
import time
from datetime import datetime
from pathlib import Path

import jsonschema
import msgspec
import pytest

from fusecopy.dispatch import records
from fusecopy.dispatch.schema import schema

DOCUMENT_PATH = Path(__file__).parents[2] / "docs/dispatch-log.md"
DOCUMENT = DOCUMENT_PATH.read_text()

DISPATCH = "typing.Literal['dispatched', 'fallback', 'bypassed', 'refused', 'unknown']"
TEXT, NUMBER, MAYBE_TEXT, MAYBE_NUMBER = "str", "int", "str | None", "int | None"

PROMISED = {
    "Attempt": {
        "path": TEXT,
        "off_in": NUMBER,
        "off_out": NUMBER,
        "length": NUMBER,
        "carried": NUMBER,
        "errno": MAYBE_TEXT,
        "reason": TEXT,
    },
    "Requests": {
        "copies": NUMBER,
        "reads": NUMBER,
        "read_bytes": NUMBER,
        "writes": NUMBER,
        "write_bytes": NUMBER,
    },
    "Header": {
        "time": TEXT,
        "schema": NUMBER,
        "fusecopy": TEXT,
        "pyfuse3": TEXT,
        "libfuse": TEXT,
        "kernel": TEXT,
        "protocol": TEXT,
        "pid": NUMBER,
        "uid": NUMBER,
        "backing": TEXT,
        "filesystem": TEXT,
        "mount": TEXT,
        "connection": NUMBER,
        "policy": TEXT,
        "passthrough": "bool",
        "backing_b64": MAYBE_TEXT,
        "mount_b64": MAYBE_TEXT,
        "coherence": TEXT,
        "transport": TEXT,
        "transport_reason": TEXT,
    },
    "Copy": {
        "seq": NUMBER,
        "time": TEXT,
        "mono_ns": NUMBER,
        "pid": NUMBER,
        "comm": TEXT,
        "uid": NUMBER,
        "asked": TEXT,
        "src": TEXT,
        "dst": TEXT,
        "src_b64": MAYBE_TEXT,
        "dst_b64": MAYBE_TEXT,
        "off_in": MAYBE_NUMBER,
        "off_out": MAYBE_NUMBER,
        "length": NUMBER,
        "copied": MAYBE_NUMBER,
        "dispatch": DISPATCH,
        "path": TEXT,
        "paths": "dict[str, int]",
        "attempts": "list[fusecopy.dispatch.records.Attempt]",
        "shared": MAYBE_NUMBER,
        "shared_before": MAYBE_NUMBER,
        "holes": NUMBER,
        "unprovable": MAYBE_NUMBER,
        "proof": TEXT,
        "rewritten": MAYBE_NUMBER,
        "errno": MAYBE_TEXT,
        "cause": MAYBE_TEXT,
        "remedy": MAYBE_TEXT,
        "duration_us": NUMBER,
        "requests": "Requests",
        "driver": TEXT,
        "paired": TEXT,
        "evidence": TEXT,
        "parent": NUMBER,
        "exe": TEXT,
        "args": TEXT,
    },
    "Flow": {
        "seq": NUMBER,
        "time": TEXT,
        "mono_ns": NUMBER,
        "pid": NUMBER,
        "comm": TEXT,
        "uid": NUMBER,
        "dst": TEXT,
        "dst_b64": MAYBE_TEXT,
        "errno": MAYBE_TEXT,
        "driver": TEXT,
        "duration_us": NUMBER,
        "requests": "Requests",
        "parent": NUMBER,
        "exe": TEXT,
        "args": TEXT,
    },
    "Tree": {
        "seq": NUMBER,
        "time": TEXT,
        "mono_ns": NUMBER,
        "pid": NUMBER,
        "comm": TEXT,
        "uid": NUMBER,
        "src": TEXT,
        "dst": TEXT,
        "src_b64": MAYBE_TEXT,
        "dst_b64": MAYBE_TEXT,
        "how": TEXT,
        "files": NUMBER,
        "directories": NUMBER,
        "links": NUMBER,
        "other": NUMBER,
        "bytes": NUMBER,
        "shared": NUMBER,
        "unprovable": NUMBER,
        "rewritten": NUMBER,
        "errno": MAYBE_TEXT,
        "at": TEXT,
        "cause": MAYBE_TEXT,
        "remedy": MAYBE_TEXT,
        "duration_us": NUMBER,
        "parent": NUMBER,
        "exe": TEXT,
        "args": TEXT,
    },
    "Coherence": {"time": TEXT, "coherence": TEXT, "cause": TEXT, "remedy": TEXT},
    "Note": {"time": TEXT, "text": TEXT},
    "Policy": {"time": TEXT, "uid": NUMBER, "policy": TEXT},
    "Lost": {"time": TEXT, "count": NUMBER, "why": TEXT},
    "Totals": {
        "copies": "dict[str, int]",
        "bytes": "dict[str, int]",
        "shared": NUMBER,
        "rewritten": NUMBER,
    },
    "Footer": {"time": TEXT, "totals": "Totals", "lost": NUMBER},
}


def _fields(name: str) -> dict[str, str]:
    described = msgspec.structs.fields(getattr(records, name))
    return {field.encode_name: _name(field.type) for field in described}


def _name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


def test_schema_version_is_promised() -> None:
    assert records.SCHEMA == 1


def test_every_record_is_promised() -> None:
    structs = {
        name
        for name, kind in vars(records).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    }
    assert structs == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_fields_and_types_are_promised(name: str) -> None:
    assert _fields(name) == PROMISED[name]


@pytest.mark.parametrize("name", PROMISED)
def test_every_field_is_documented(name: str) -> None:
    explained = re.sub(r"^ {4}.*$", "", DOCUMENT, flags=re.MULTILINE)
    documented = {part for quoted in re.findall(r"`([^`\n]+)`", explained) for part in quoted.split(".")}
    assert set(PROMISED[name]) <= documented


def test_documented_examples_are_records() -> None:
    examples = re.findall(r"^ {4}(\{.*\})$", DOCUMENT, flags=re.MULTILINE)
    decoded = [msgspec.json.decode(example, type=records.Record) for example in examples]
    assert [type(record).__name__ for record in decoded] == [
        "Header",
        "Copy",
        "Flow",
        "Tree",
        "Policy",
        "Coherence",
        "Note",
        "Lost",
        "Footer",
    ]
    for example, record in zip(examples, decoded, strict=True):
        assert json.loads(msgspec.json.encode(record)) == json.loads(example)


def test_the_json_schema_is_kept_and_lets_the_examples_pass() -> None:
    kept = (DOCUMENT_PATH.parent / "dispatch-log.schema.json").read_text()
    assert kept == schema()
    validator = jsonschema.Draft202012Validator(json.loads(kept))
    validator.check_schema(validator.schema)
    for example in re.findall(r"^ {4}(\{.*\})$", DOCUMENT, flags=re.MULTILINE):
        record = json.loads(example)
        validator.validate(record)
        validator.validate({**record, "a_new_field": 1})
        assert not validator.is_valid({**record, "time": 1})


def test_encode_path_keeps_utf8_as_it_is() -> None:
    assert records.encode_path("d/grün".encode()) == ("d/grün", None)


def test_encode_path_keeps_other_bytes_beside() -> None:
    assert records.encode_path(b"d/\xff") == ("d/\ufffd", "ZC//")


def test_timestamp_is_the_time_now() -> None:
    for _ in range(1000):
        before = time.time_ns() // 1_000_000
        said = round(datetime.fromisoformat(records.timestamp()).timestamp() * 1000)
        assert before <= said <= time.time_ns() // 1_000_000


def test_timestamp_has_milliseconds_and_offset() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", records.timestamp())
