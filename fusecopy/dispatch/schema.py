"""The JSON Schema of a line of the log, for programs that check what they read.

scripts/man writes it to docs/dispatch-log.schema.json.
"""

import json

import msgspec

from fusecopy.dispatch.records import SCHEMA, Record


def schema() -> str:
    """Its text. It lets pass fields that it does not know, since new ones may come."""
    described = msgspec.json.schema(Record)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of fusecopy's dispatch log, schema {SCHEMA}",
    }
    return json.dumps({**head, **described}, indent=2) + "\n"
