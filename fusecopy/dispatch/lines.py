"""Lines of the log for copies that one call carried whole: what is alike in many records is encoded once."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from fusecopy.dispatch.records import Attempt, Copy, encode_path

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
    "paths": "%s",
    "attempts": "%s",
    "shared": "%s",
    "holes": "%d",
    "unprovable": "%d",
    "proof": '"%s"',
    "rewritten": "%s",
    "duration_us": "%d",
}
"""What differs, in the order of a record's fields, as JSON of what `CopyLines.line` fills in."""


class Range(NamedTuple):
    """A range that was copied whole, and what FIEMAP said of its bytes. Times are CLOCK_MONOTONIC."""

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
    """Records of copies that one path carried, as the log has them, and what they add to its totals.

    Attributes:
        lines: each ends with a newline.
        path: what carried them.
        copied, shared, rewritten: bytes of all of them.
        durations_us: of each, in microseconds.
    """

    lines: Sequence[bytes]
    path: str
    copied: int
    shared: int
    rewritten: int
    durations_us: Sequence[int]


class CopyLines:
    """Makes the lines of copies of whole ranges that are alike but for their files, ranges and times.

    Args:
        alike: one of their records: its last attempt carried all of it, those before it nothing.
    """

    def __init__(self, alike: Copy) -> None:
        self.path = alike.path
        fields = ",".join(f'"{name}":{_text(alike, name)}' for name in Copy.__struct_fields__)
        self._format = f'{{"type":"copy",{fields}}}\n'
        self._paths = f'{{"{alike.path}":%d}}'
        self._attempts = f"[{','.join(map(_attempt_text, alike.attempts))}]"
        self._tries = len(alike.attempts)

    def line(self, seq: int, time: str, names: tuple[str, str, str, str], copy: Range) -> bytes:
        """The line of one copy; `names` as `encoded_names` gives them."""
        off_in, off_out, copied, shared, holes, unprovable, begun, ended = copy
        line = self._format % (
            seq,
            time,
            ended,
            *names,
            off_in,
            off_out,
            copied,
            copied,
            self._paths % copied,
            self._attempts % ((off_in, off_out, copied) * self._tries + (copied,)),
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


def _attempt_text(attempt: Attempt) -> str:
    carried = "%d" if attempt.errno is None else '0,"errno":' + _json(attempt.errno)
    return f'{{"path":"{attempt.path}","off_in":%d,"off_out":%d,"length":%d,"carried":{carried}}}'


def _json(value: object) -> str:
    return _encoder.encode(value).decode()
