"""Commands that end: within a time, and with what they said where they failed."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fusecopy.errors import FusecopyError
from fusecopy.interrupts import undisturbed

COMMAND_SECONDS = 600
"""For installing, making file systems, laying out and comparing; no measured command."""


KILLED_SECONDS = 20.0


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
    """The command, ended; it is waited for even when ^C comes, else what it uses could not be unmounted."""
    words = [str(word) for word in command]
    try:
        with undisturbed():
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                cwd=cwd,
                env=environment(),
                start_new_session=True,
            )
    except OSError as error:
        raise BenchError(f"{' '.join(words)}: {error.strerror}") from error
    try:
        printed, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(words)}: did not end within {seconds:.0f} s") from error
    finally:
        with undisturbed():
            killed(process)
    return subprocess.CompletedProcess(words, process.returncode, printed, said)


def killed(process: "subprocess.Popen[str]") -> None:
    """End a process that still runs, with all that it started, and wait for it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=KILLED_SECONDS)
