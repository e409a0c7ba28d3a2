"""A suite's command: to its end or for so long, with all that it said."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def said(command: Sequence[str | Path], where: Path, seconds: int, extra: Mapping[str, str] = {}) -> str:
    """What it printed; its status says nothing that its lines do not. What is not over in time is ended, and
    the lines that are missing tell."""
    with subprocess.Popen(
        command,
        cwd=where,
        env={**os.environ, **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as running:
        try:
            text, _ = running.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            text, _ = running.communicate()
            text += "\nnot over in time\n"
    return f"{text}\nstatus {running.returncode}\n"
