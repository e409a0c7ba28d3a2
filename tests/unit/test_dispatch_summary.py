"""Sums and selection over records."""

from typing import Any

import pytest

from fusecopy.dispatch.records import Copy, Flow, Lost, Record, Requests
from fusecopy.dispatch.selection import Selection
from fusecopy.dispatch.summary import Group, Summary
from tests import samples


def _copy(**changes: Any) -> Copy:
    usual = {
        "pid": 10,
        "uid": 0,
        "src": "d/a",
        "dst": "e/b",
        "length": 100,
        "copied": 90,
        "shared": 80,
        "rewritten": 10,
        "duration_us": 5,
    }
    return samples.copy(1, **{**usual, **changes})


FLOW = Flow(
    seq=2,
    time="2026-03-01T06:47:03.000+01:00",
    mono_ns=2,
    pid=11,
    comm="tar",
    uid=0,
    dst="e/x",
    duration_us=7,
    requests=Requests(writes=3, write_bytes=300),
)
FALLBACK = _copy(
    dispatch="fallback",
    path="kernel-splice",
    shared=None,
    rewritten=None,
    requests=Requests(copies=1, reads=2, read_bytes=90, writes=3, write_bytes=90),
)
LOST = Lost("2026-03-01T06:47:04.000+01:00", 4)


def test_summary_adds_up_by_path_and_program() -> None:
    summary = Summary()
    summary.add_all([_copy(), _copy(comm="install"), FALLBACK, FLOW, LOST, LOST])
    reflinked = Group(copies=2, asked=200, copied=180, shared=160, rewritten=20, requests=2, duration_us=10)
    spliced = Group(copies=1, asked=100, copied=90, unprovable=1, unmeasured=1, requests=6, duration_us=5)
    assert summary.by_path == {
        ("dispatched", "reflink"): reflinked,
        ("fallback", "kernel-splice"): spliced,
    }
    assert {program: group.copies for program, group in summary.by_program.items()} == {"cp": 2, "install": 1}
    assert summary.total == Group(3, 300, 270, 160, 1, 20, 1, 8, 15)
    assert (summary.flows, summary.lost) == (1, 8)


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        (Selection(), [0, 1, 2, 3]),
        (Selection(pids=frozenset([11])), [2, 3]),
        (Selection(comm="ta"), [2, 3]),
        (Selection(glob="d/*"), [0, 1, 3]),
        (Selection(glob="e/x"), [2, 3]),
        (Selection(glob="e"), [3]),
        (Selection(dispatches=frozenset(["fallback", "refused"])), [1, 3]),
        (Selection(pids=frozenset([10]), dispatches=frozenset(["dispatched"])), [0, 3]),
    ],
)
def test_selection(selection: Selection, wanted: list[int]) -> None:
    records: list[Record] = [_copy(), FALLBACK, FLOW, LOST]
    assert [number for number, record in enumerate(records) if selection.wants(record)] == wanted
