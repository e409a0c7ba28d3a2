"""What becomes of the names that waiting records tell: programs copy into a temporary name, and then rename.

Renames wait among the records, in the order in which both came, and are applied when these are written: the
renames cost whoever makes them next to nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from fusecopy.dispatch.records import Copy, Flow, Record, Tree, decode_path, encode_path

_encoder = msgspec.json.Encoder()
_copies = msgspec.json.Decoder(Copy)


class Renamed(NamedTuple):
    """What was at one path, a file or a directory with all in it, is at another; both below the mount's root.

    Attributes:
        displaced: where what was at the new one is now; None where that is the same file, by another name.
    """

    old: bytes
    new: bytes
    displaced: bytes | None


class Removed(NamedTuple):
    """What was at a path below the mount's root is there no more: it is told by that name for ever, whatever
    becomes of what has the name next."""

    path: bytes


Change = Renamed | Removed


class _Destination(msgspec.Struct):
    dst: str
    dst_b64: str | None = None


_destinations = msgspec.json.Decoder(_Destination)


class _Place:
    """A path, component by component.

    Attributes:
        last: the last path of what is there; None where it moves only with the directory that it is in.
        below: what is known of places in it, by name.
    """

    __slots__ = ("below", "last")

    def __init__(self, last: bytes | None = None) -> None:
        self.last = last
        self.below: dict[bytes, _Place] = {}


class _Names:
    """Where what is at a path now is in the end. Learns renames from the last one back."""

    def __init__(self) -> None:
        self._root = _Place()

    def before(self, renamed: Renamed) -> None:
        """Go back to before a rename."""
        old, new, displaced = renamed
        last, last_displaced = self.path(new), self.path(displaced or new)
        moved, other = self._taken(new), self._taken(old)
        moved.last = last
        if displaced is None:
            other = _Place(last)
        elif displaced == new:
            other = _Place(new)
        else:
            other.last = last_displaced
        self._put(new, other)
        self._put(old, moved)

    def before_removal(self, path: bytes) -> None:
        """Go back to before a removal."""
        self._put(path, _Place(path))

    def path(self, path: bytes) -> bytes:
        """The last path of what is at a path."""
        at: _Place | None = self._root
        last: list[bytes] = []
        for name in path.split(b"/"):
            at = at and at.below.get(name)
            last = [at.last] if at and at.last is not None else [*last, name]
        return b"/".join(last)

    def _directory(self, path: bytes) -> tuple[_Place, bytes]:
        at = self._root
        *above, name = path.split(b"/")
        for component in above:
            at = at.below.setdefault(component, _Place())
        return at, name

    def _taken(self, path: bytes) -> _Place:
        directory, name = self._directory(path)
        return directory.below.pop(name, None) or _Place()

    def _put(self, path: bytes, place: _Place) -> None:
        directory, name = self._directory(path)
        directory.below[name] = place


def with_last_names(queue: Sequence[Record | bytes | Change], count: int) -> list[Record | bytes]:
    """The records among the first `count` of what waits, by the names that files have after all of it."""
    if not any(isinstance(waiting, Renamed) for waiting in queue):
        return [waiting for waiting in queue[:count] if not isinstance(waiting, Change)]
    last, found = _Names(), list[Record | bytes]()
    for at in range(len(queue) - 1, -1, -1):
        waiting = queue[at]
        if isinstance(waiting, Renamed):
            last.before(waiting)
        elif isinstance(waiting, Removed):
            last.before_removal(waiting.path)
        elif at < count:
            found.append(_line(waiting, last) if isinstance(waiting, bytes) else _record(waiting, last))
    found.reverse()
    return found


def told_at(copy: Copy | bytes, path: bytes) -> bytes:
    """The line of a copy, or another with this destination."""
    return _encoder.encode(_at(_copies.decode(copy) if isinstance(copy, bytes) else copy, path)) + b"\n"


def _record(record: Record, last: _Names) -> Record:
    if not isinstance(record, Copy | Flow | Tree):
        return record
    before = decode_path(record.dst, record.dst_b64)
    after = last.path(before)
    return record if after == before else _at(record, after)


def _line(line: bytes, last: _Names) -> bytes:
    """Lines are of copies (dispatch/lines.py)."""
    told = _destinations.decode(line)
    before = decode_path(told.dst, told.dst_b64)
    after = last.path(before)
    return line if after == before else told_at(line, after)


def _at(record: Copy | Flow | Tree, path: bytes) -> Copy | Flow | Tree:
    dst, dst_b64 = encode_path(path)
    return msgspec.structs.replace(record, dst=dst, dst_b64=dst_b64)
