"""The records of files that were cloned whole say what those of files cloned one by one say."""

import time
from datetime import datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import asdict

from fusecopy.copying.batch import Cloned
from fusecopy.copying.calls import FileId
from fusecopy.copying.records import Attempt, CopyPath, Proof, Sharing
from fusecopy.dispatch.lines import Lines
from fusecopy.dispatch.records import Copy, Record
from fusecopy.dispatch.totals import Tally
from fusecopy.filesystem.trees import Made
from fusecopy.observe.caller import Caller
from fusecopy.reporting.flows import Carried
from fusecopy.reporting.reports import Reporter
from fusecopy.reporting.treerecords import TreeRecords
from fusecopy.reporting.undispatched import Undispatched

CALLER = Caller(7, "fusecopy", 1001, parent=3, exe="/bin/100%s", args='clone -r "a" %d')


def _told(record: Record) -> dict[str, Any]:
    assert isinstance(record, Copy)
    told = asdict(record)
    del told["seq"], told["time"]
    return told


@pytest.mark.parametrize(("shared", "holes", "unprovable"), [(8192, 0, 0), (4096, 4096, 0), (0, 0, 8192)])
def test_one_whole_is_told_as_one_by_one(shared: int, holes: int, unprovable: int) -> None:
    put: list[Record | Lines] = []
    reporter = Reporter(put.append, Undispatched())
    size, name = 8192, b"not utf-8 \xff"
    proof = Proof.UNPROVABLE if unprovable else Proof.FIEMAP
    copy = Carried(
        caller=CALLER,
        asked="clone",
        source=b"a/" + name,
        off_in=0,
        off_out=0,
        length=size,
        copied=size,
        attempts=[Attempt(CopyPath.REFLINK, 0, 0, size, size)],
        paths={CopyPath.REFLINK: size},
        sharing=Sharing(shared, holes, unprovable, proof),
        shared_before=0,
        errno=0,
        refusal=None,
        dispatch="dispatched",
        begun_ns=1_000,
        ended_ns=43_000,
        requests=0,
        driver="ioctl",
    )
    files = FileId(5, 6, 1), FileId(5, 7, 1)
    reporter.carried(copy, Made(files[0], name))
    clone = Cloned(name, files[1], size, shared, holes, unprovable, begun_ns=1_000, ended_ns=43_000)
    reporter.cloned([TreeRecords(CALLER, b"a/", b"").told(clone)])
    one_by_one, lines = put
    assert isinstance(one_by_one, Copy)
    assert isinstance(lines, Lines)
    whole = msgspec.json.decode(lines.lines[0], type=Copy)
    assert msgspec.json.encode(whole) + b"\n" == lines.lines[0]
    one_by_one_totals, whole_totals = Tally(), Tally()
    one_by_one_totals.add(one_by_one)
    whole_totals.add(lines)
    assert whole_totals.totals() == one_by_one_totals.totals()
    assert _told(whole) == _told(one_by_one)
    ended = time.time() - (time.monotonic() - whole.mono_ns / 1e9)
    assert abs(datetime.fromisoformat(whole.time).timestamp() - ended) < 1
    assert (whole.seq, whole.shared) == (2, None if unprovable else shared)
    for file, record in zip(files, (one_by_one, whole), strict=True):
        assert reporter.last_copy(file, name) == msgspec.json.encode(record)
    assert reporter.last_copy(FileId(5, 6, 3), name) is None
