"""All checks of one mount, each in a process of its own: a server may leave who asks it without answer."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from fusecopy import bounded
from fusecopy.checking.contents import CHECKS, LARGE
from fusecopy.checking.dispatch import dispatch
from fusecopy.checking.findings import Finding, State, Verdict
from fusecopy.checking.scratch import PREFIX, Scratch
from fusecopy.copying import errnos

T = TypeVar("T")

SECONDS = 60.0
"""For one check."""

DISPATCH = "offload"


def check(mount: Path, connection: int, large: bool) -> Iterator[Finding]:
    """Try the rules out below a directory of a mount, in order; ends with the first that is not answered.

    Args:
        connection: the mount's FUSE connection.
        large: the check that may write 4 GiB, too.

    Raises:
        OSError: nothing can be made there; a TimeoutError where nothing is answered.
    """
    directory = _bounded(lambda: tempfile.mkdtemp(prefix=PREFIX, dir=mount))
    scratch = Scratch(Path(directory))
    try:
        by_server = False
        for finding in _answered(DISPATCH, lambda: dispatch(scratch, connection)):
            by_server |= finding.name == DISPATCH and finding.state is State.OK
            yield finding
        for name, make in CHECKS.items():
            yield from _answered(name, _one(name, make, scratch))
        for name, make in LARGE.items() if large else ():
            yield from _answered(name, _one(name, make if by_server else _left_out, scratch))
    finally:
        _bounded(lambda: shutil.rmtree(directory, ignore_errors=True))


def _bounded(act: Callable[[], T]) -> T:
    return bounded.call(act, SECONDS)


def _left_out(_scratch: Scratch) -> Verdict:
    return Verdict(State.UNKNOWN, "left out, because the kernel would write all of it", "see offload")


def _one(name: str, make: Callable[[Scratch], Verdict], scratch: Scratch) -> Callable[[], dict[str, Verdict]]:
    return lambda: {name: make(scratch)}


def _answered(name: str, act: Callable[[], dict[str, Verdict]]) -> Iterator[Finding]:
    try:
        found = _bounded(act)
    except TimeoutError:
        raise
    except OSError as error:
        what = f"{errnos.name(error.errno or 0)}: {os.strerror(error.errno or 0)}"
        found = {name: Verdict(State.NOT_OK, what, "the copy, or what goes with it, fails")}
    for key, verdict in found.items():
        yield Finding(key, *verdict)
