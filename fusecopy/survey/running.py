"""Running one program's command line where it can be seen what it calls."""

import json
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusecopy.survey import strace
from fusecopy.survey.records import Calls
from fusecopy.survey.strace import Names

SECONDS = 120
"""How long a program may take."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command line ended, and what it called.

    Attributes:
        error: why it failed, in a line; empty where it did not.
        names: that are gone, as far as strace told them.
    """

    error: str
    calls: Calls
    names: Names


def shell(line: str, where: Path, environment: Mapping[str, str]) -> str:
    """Run a command line; returns what it printed. Raises OSError and subprocess.SubprocessError."""
    return _run(["sh", "-c", line], where, environment)


def traced(line: str, where: Path, environment: Mapping[str, str]) -> Ran:
    """Run a command line in a directory, its calls on files there seen by strace, else by fusecopy expect."""
    with tempfile.NamedTemporaryFile(prefix="fusecopy-survey-") as file:
        has_strace = shutil.which("strace", path=environment["PATH"]) is not None
        tracer = _strace(file.name) if has_strace else ["fusecopy", "expect", "--json", "-o", file.name, "--"]
        error = ""
        try:
            _run([*tracer, "sh", "-c", line], where, environment)
        except (OSError, subprocess.SubprocessError) as failed:
            error = reason(failed)
        with open(file.name, encoding="utf-8", errors="surrogateescape") as lines:
            if has_strace:
                return Ran(error, *strace.read(lines, where))
            return Ran(error, _noted(lines, where), Names())


def reason(error: Exception) -> str:
    """Why a command failed: the last line that it said, or the error itself."""
    said = getattr(error, "stderr", None) or getattr(error, "stdout", None) or ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else str(error)


def _strace(output: str) -> list[str]:
    return ["strace", *strace.OPTIONS, "-e", f"trace={','.join(strace.TRACED)}", "-o", output]


def _noted(lines: Iterable[str], below: Path) -> Calls:
    """What fusecopy expect says of the copies into a directory; of other writes it does not tell."""
    moved = Counter[str]()
    for line in lines:
        said = json.loads(line)
        if said["type"] == "copy" and Path(said["destination"]).is_relative_to(below):
            moved[said["made_by"] or "unknown"] += said["size"]
    return Calls(moved=dict(moved), tracer="fusecopy expect")


def _run(command: Sequence[str], where: Path, environment: Mapping[str, str]) -> str:
    """Run it in a session of its own, all of which is ended where it takes too long."""
    with subprocess.Popen(
        command,
        cwd=where,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as running:
        try:
            out, err = running.communicate(timeout=SECONDS)
        except BaseException:
            os.killpg(running.pid, 9)
            raise
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, command, out, err)
    return out + err
