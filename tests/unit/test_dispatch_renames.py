"""Records that wait are told by the names that their files have in the end."""

import base64

import msgspec
import pytest

from fusecopy.dispatch.records import Copy, Record
from fusecopy.dispatch.renames import Change, Removed, Renamed, told_at, with_last_names
from tests import samples

Waiting = Record | bytes | Change


def at(path: str) -> Copy:
    return samples.copy(1, dst=path)


def moved(old: str, new: str) -> Renamed:
    """rename(2): what was at the new name is gone."""
    return Renamed(old.encode(), new.encode(), new.encode())


def link(old: str, new: str) -> Renamed:
    """The same file has a name left, or its first one."""
    return Renamed(old.encode(), new.encode(), None)


def exchanged(one: str, other: str) -> Renamed:
    return Renamed(one.encode(), other.encode(), one.encode())


@pytest.mark.parametrize(
    ("queue", "names"),
    [
        ([at("a"), moved("a", "b")], ["b"]),
        ([moved("a", "b"), at("a")], ["a"]),
        ([at("a"), moved("a", "b"), at("a"), moved("a", "c")], ["b", "c"]),
        ([at("a"), moved("a", "b"), moved("b", "d/c")], ["d/c"]),
        ([at("b"), at("a"), moved("a", "b"), moved("b", "c")], ["b", "c"]),
        ([at("t/x/f"), moved("t/x/f", "t/x/g"), moved("t", "u")], ["u/x/g"]),
        ([at("t/f"), at("tf"), moved("t", "u")], ["u/f", "tf"]),
        ([at("t/f"), moved("t", "u"), moved("u/f", "f")], ["f"]),
        ([at("a"), at("b"), exchanged("a", "b")], ["b", "a"]),
        ([at("a"), at("b"), exchanged("a", "b"), moved("a", "c")], ["b", "c"]),
        ([at("#12"), link("#12", "d/file")], ["d/file"]),
        ([at("tmp"), at("other"), link("tmp", "other"), moved("other", "last")], ["last", "last"]),
        ([at("a"), moved("a", "a")], ["a"]),
        ([at("x")], ["x"]),
        ([at("a"), Removed(b"a"), at("a"), moved("a", "b")], ["a", "b"]),
        ([at("t/a"), Removed(b"t/a"), Removed(b"t"), at("t/a"), moved("t", "u")], ["t/a", "u/a"]),
        ([at("a"), moved("a", "b"), Removed(b"b"), moved("c", "b"), moved("b", "d")], ["b"]),
    ],
)
@pytest.mark.parametrize("as_lines", [False, True])
def test_names_in_the_end(queue: list[Waiting], names: list[str], as_lines: bool) -> None:
    waiting = [told_at(one, one.dst.encode()) if as_lines and isinstance(one, Copy) else one for one in queue]
    told = with_last_names(waiting, len(waiting))
    copies = [msgspec.json.decode(one, type=Copy) if isinstance(one, bytes) else one for one in told]
    assert [copy.dst for copy in copies if isinstance(copy, Copy)] == names


def test_what_is_not_due_yet_has_renamed_what_is() -> None:
    assert with_last_names([at("a"), at("z"), moved("a", "b")], 1) == [at("b")]


def test_names_that_are_not_utf8() -> None:
    (copy,) = with_last_names([at("a"), Renamed(b"a", b"\xff", b"\xff")], 2)
    assert isinstance(copy, Copy)
    assert copy.dst_b64 == base64.b64encode(b"\xff").decode()
    (again,) = with_last_names([copy, Renamed(b"\xff", b"c", b"c")], 2)
    assert isinstance(again, Copy)
    assert (again.dst, again.dst_b64) == ("c", None)
