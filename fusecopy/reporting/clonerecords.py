"""The records of ranges and files that were cloned whole, of which there may be very many."""

from functools import lru_cache
from typing import NamedTuple

from fusecopy.copying.calls import FileId
from fusecopy.dispatch.lines import CloneLines, Range
from fusecopy.dispatch.records import Copy, Requests
from fusecopy.observe.caller import Caller


class Told(NamedTuple):
    """A clone as it is reported.

    Attributes:
        lines: makes its line.
        names: of source and destination, as `encoded_names` gives them.
        range: what was cloned.
        file: the destination, whose last copy this is; None where another one follows or it is not known.
    """

    lines: CloneLines
    names: tuple[str, str, str, str]
    range: Range
    file: FileId | None


@lru_cache(maxsize=64)
def clone_lines(caller: Caller, asked: str, copies: int, driver: str) -> CloneLines:
    """Makes the lines of a caller's clones that were `asked` for by a `driver`, in so many requests each."""
    return CloneLines(
        Copy(
            seq=0,
            time="",
            mono_ns=0,
            pid=caller.pid,
            comm=caller.comm,
            uid=caller.uid,
            asked=asked,
            src="",
            dst="",
            off_in=0,
            off_out=0,
            length=0,
            copied=0,
            dispatch="dispatched",
            path="reflink",
            shared=0,
            shared_before=0,
            proof="fiemap",
            rewritten=0,
            duration_us=0,
            requests=Requests(copies=copies),
            driver=driver,
            paired="request",
            evidence="request",
            parent=caller.parent,
            exe=caller.exe,
            args=caller.args,
        )
    )
