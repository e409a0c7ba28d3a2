"""What a line is, even where its schema is not known here."""

import msgspec

from fusecopy.dispatch.records import SCHEMA, Record

_decoder = msgspec.json.Decoder(Record)


class Kind(msgspec.Struct):
    """What any record, of any schema, can be told by."""

    type: str = ""
    schema: int = 0


def kind(line: bytes) -> Kind:
    """What a line is, of whatever schema; an empty kind where it is no record at all."""
    try:
        return msgspec.json.decode(line, type=Kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Kind()


def is_record(line: bytes) -> bool:
    """Whether a line is a record of a dispatch log: of this schema, or the header of a newer one."""
    try:
        _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = kind(line)
        return told.type == "header" and told.schema > SCHEMA
    return True
