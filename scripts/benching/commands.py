"""Commands that end: within a time, and with what they said where they failed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fusecopy.errors import FusecopyError

COMMAND_SECONDS = 600
"""For installing, making file systems, laying out and comparing; no measured command."""


class BenchError(FusecopyError):
    """The benchmark cannot go on."""


def run(*command: str | Path, cwd: Path | None = None, seconds: float = COMMAND_SECONDS) -> str:
    """Run a command to its end, out of reach of the terminal's ^C; what it printed.

    Raises:
        BenchError: it failed, with what it said, or is not there, or did not end in time.
    """
    done = _done(*command, cwd=cwd, seconds=seconds)
    if done.returncode:
        raise BenchError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def answer(*command: str | Path) -> str:
    """The first line of what a command that compares has to object; empty where its status is 0.

    Raises:
        BenchError: it is not there, or did not end in time.
    """
    done = _done(*command)
    if not done.returncode:
        return ""
    lines = f"{done.stdout}{done.stderr}".splitlines()
    return lines[0] if lines else f"status {done.returncode}"


def environment() -> Mapping[str, str]:
    """Ours, with this installation's `fusecopy` first, sbin too, and messages in English."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, "LC_ALL": "C"}


def _done(
    *command: str | Path, cwd: Path | None = None, seconds: float = COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd=cwd,
            env=environment(),
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{' '.join(map(str, command))}: {error}") from error
