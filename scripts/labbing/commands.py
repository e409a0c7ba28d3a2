"""Commands that end: within a time, and with what they said where they failed."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from labbing.settings import COMMAND_SECONDS


class LabError(Exception):
    """The lab cannot go on; the message is for a person."""


def run(
    *command: str | Path,
    seconds: float = COMMAND_SECONDS,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a command to its end; what it printed.

    Raises:
        LabError: it failed, with the end of what it said, or did not end within `seconds`.
    """
    words = [str(word) for word in command]
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        start_new_session=True,
    )
    try:
        printed, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(words)}: did not end within {seconds:.0f} s") from error
    finally:
        end(process)
    if process.returncode:
        raise LabError(f"{' '.join(words)}: status {process.returncode}\n{(said or printed)[-2000:].strip()}")
    return printed


def end(process: "subprocess.Popen[str]") -> None:
    """Kill a process that still runs, with all that it started, and wait for it."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
