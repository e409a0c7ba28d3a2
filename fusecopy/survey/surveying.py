"""Running all programs on one mount, and telling of each what was seen and what was logged."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusecopy.demo.place import Place, environment, mounted
from fusecopy.dispatch import reader
from fusecopy.dispatch.records import Copy, Flow
from fusecopy.survey import comparing, running
from fusecopy.survey.program import Program
from fusecopy.survey.records import Row, State, Survey

SOURCE_BYTES = (1 << 20) + 1234
SMALL_BYTES = 300_000
SMALL_FILES = 3

_VERSION = re.compile(r"\d+(?:\.\d+)+[\w.+-]*|\d{6,}|\d+\.\d+")


@dataclass(frozen=True, slots=True)
class _Ran:
    """A program that was run: all but what the log says, which is read when the mount is gone."""

    program: Program
    directory: str
    version: str
    ran: running.Ran


def survey(place: Place, programs: Sequence[Program], progress: Callable[[str], None]) -> Survey:
    """Run programs on a mount of a place.

    Args:
        progress: is told of each program before it is run.

    Raises:
        FusecopyError: the mount could not be made or its log not be read.
    """
    rows: dict[str, Row] = {}
    ran: list[_Ran] = []
    with mounted(place, "mnt") as point:
        _fill(point)
        for number, program in enumerate(programs):
            progress(program.name)
            one = _run(place, point, f"{number:03}", program)
            if isinstance(one, Row):
                rows[program.name] = one
            else:
                ran.append(one)
    # What was released last is in the log once the server has ended.
    records = list(reader.current(place.scratch / "mnt.jsonl"))
    for one in ran:
        about = comparing.below(records, one.directory)
        rows[one.program.name] = _row(one, about, place.backing / one.directory)
    return Survey(os.uname().release, place.filesystem, [rows[program.name] for program in programs])


def _fill(point: Path) -> None:
    """The files that programs copy; on disk, because extents that are not cannot be compared."""
    (point / "source").write_bytes(os.urandom(SOURCE_BYTES))
    (point / "tree" / "below").mkdir(parents=True)
    for number in range(SMALL_FILES):
        (point / "tree" / "below" / f"file{number}").write_bytes(os.urandom(SMALL_BYTES))
    os.sync()


def _run(place: Place, point: Path, directory: str, program: Program) -> _Ran | Row:
    """Run a program in its own directory; its row at once where that cannot be done."""
    where, made, outside = point / directory, point / "made" / directory, place.scratch / directory
    for folder in (where, made, outside):
        folder.mkdir(parents=True)
    around = {**environment(), "MADE": str(made), "OUTSIDE": str(outside), "HOME": str(outside)}
    missing = [name for name in program.needs if not shutil.which(name, path=around["PATH"])]
    if missing:
        return Row(program.name, "", program.line, "missing", f"{', '.join(missing)} is not installed")
    try:
        version = _version(running.shell(program.version, outside, around))
        if program.prepare:
            running.shell(program.prepare, made, around)
            os.sync()
    except (OSError, subprocess.SubprocessError) as error:
        return Row(program.name, "", program.line, "missing", running.reason(error))
    return _Ran(program, directory, version, running.traced(program.line, where, around))


def _version(text: str) -> str:
    """What looks like a version in what a program says of itself."""
    found = _VERSION.search(text)
    return found[0] if found else text.strip().partition("\n")[0]


def _row(one: _Ran, about: list[Copy | Flow], directory: Path) -> Row:
    program, ran = one.program, one.ran
    differ = comparing.differences(ran.calls, ran.names, about, directory)
    state: State = "failed" if ran.error else "disagree" if differ else "agree"
    why = "; ".join([*([ran.error] if ran.error else []), *differ])
    return Row(program.name, one.version, program.line, state, why, ran.calls, comparing.said(about))
