"""The records of ranges and files that one call copied whole, of which there may be very many."""

from functools import lru_cache
from typing import NamedTuple

from fusecopy.copying import errnos
from fusecopy.copying.calls import FileId
from fusecopy.copying.records import Refusal
from fusecopy.dispatch.lines import CopyLines, Range
from fusecopy.dispatch.records import Attempt, Copy, Requests
from fusecopy.observe.caller import Caller


class Told(NamedTuple):
    """A copy as it is reported.

    Attributes:
        lines: makes its line.
        names: of source and destination, as `encoded_names` gives them.
        range: what was copied.
        file: the destination, whose last copy this is; None where another one follows or it is not known.
    """

    lines: CopyLines
    names: tuple[str, str, str, str]
    range: Range
    file: FileId | None


@lru_cache(maxsize=64)
def copy_lines(
    caller: Caller, asked: str, copies: int, driver: str, refused: Refusal | None = None
) -> CopyLines:
    """Makes the lines of what a caller `asked` for by a `driver`, in so many requests each.

    Args:
        refused: why the backing's own copy carried it, and not a clone.
    """
    attempts = [Attempt("reflink", 0, 0, 0, 0, errnos.name(refused.errno) if refused else None)]
    if refused:
        attempts.append(Attempt("copy_file_range", 0, 0, 0, 0))
    return CopyLines(
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
            path=attempts[-1].path,
            attempts=attempts,
            shared=0,
            shared_before=0,
            proof="fiemap",
            rewritten=0,
            duration_us=0,
            cause=refused.cause if refused else None,
            remedy=refused.remedy if refused else None,
            requests=Requests(copies=copies),
            driver=driver,
            paired="request",
            evidence="request",
            parent=caller.parent,
            exe=caller.exe,
            args=caller.args,
        )
    )
