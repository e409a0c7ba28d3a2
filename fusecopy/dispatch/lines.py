"""Lines of the log for clones: what is alike in the records of many is encoded once."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from fusecopy.dispatch.records import Copy, encode_path

_encoder = msgspec.json.Encoder()

VARYING = {
    "seq": "%d",
    "time": '"%s"',
    "mono_ns": "%d",
    "src": "%s",
    "dst": "%s",
    "src_b64": "%s",
    "dst_b64": "%s",
    "off_in": "%d",
    "off_out": "%d",
    "length": "%d",
    "copied": "%d",
    "paths": '{"reflink":%d}',
    "attempts": '[{"path":"reflink","off_in":%d,"off_out":%d,"length":%d,"carried":%d}]',
    "shared": "%s",
    "holes": "%d",
    "unprovable": "%d",
    "proof": '"%s"',
    "rewritten": "%s",
    "duration_us": "%d",
}
"""What differs, in the order of a record's fields, as JSON of what `CloneLines.line` fills in."""


class Range(NamedTuple):
    """A range that was cloned whole, and what FIEMAP said of its bytes. Times are CLOCK_MONOTONIC."""

    off_in: int
    off_out: int
    copied: int
    shared: int
    holes: int
    unprovable: int
    begun_ns: int
    ended_ns: int

    @property
    def rewritten(self) -> int:
        """Bytes that were written again; none are known where some are unprovable."""
        return 0 if self.unprovable else self.copied - self.shared - self.holes


class Lines(NamedTuple):
    """Records of clones as the log has them, and what they add to its totals: bytes.

    Attributes:
        lines: each ends with a newline.
        copied, shared, rewritten: of all of them.
    """

    lines: Sequence[bytes]
    copied: int
    shared: int
    rewritten: int


class CloneLines:
    """Makes the lines of clones of whole ranges that are alike but for their files, ranges and times.

    Args:
        alike: one of their records.
    """

    def __init__(self, alike: Copy) -> None:
        fields = ",".join(f'"{name}":{_text(alike, name)}' for name in Copy.__struct_fields__)
        self._format = f'{{"type":"copy",{fields}}}\n'

    def line(self, seq: int, time: str, names: tuple[str, str, str, str], clone: Range) -> bytes:
        """The line of one clone; `names` as `encoded_names` gives them."""
        off_in, off_out, copied, shared, holes, unprovable, begun, ended = clone
        line = self._format % (
            seq,
            time,
            ended,
            *names,
            off_in,
            off_out,
            copied,
            copied,
            copied,
            off_in,
            off_out,
            copied,
            copied,
            "null" if unprovable else shared,
            holes,
            unprovable,
            "unprovable" if unprovable else "fiemap",
            "null" if unprovable else copied - shared - holes,
            (ended - begun) // 1000,
        )
        return line.encode()


def encoded_names(source: bytes, destination: bytes) -> tuple[str, str, str, str]:
    """The paths of two files as JSON: src, dst, src_b64, dst_b64."""
    src, src_b64 = encode_path(source)
    dst, dst_b64 = encode_path(destination)
    return _json(src), _json(dst), _json(src_b64), _json(dst_b64)


def _text(record: Copy, name: str) -> str:
    return VARYING.get(name) or _json(getattr(record, name)).replace("%", "%%")


def _json(value: object) -> str:
    return _encoder.encode(value).decode()
