"""Programs under `fusecopy run`, to their end."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mounted import FUSECOPY

HERE = Path(__file__).parent
SECONDS = 60

AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
"""Put before a command, makes it an ordinary user's."""


def served(*command: str | Path, cwd: Path, prefix: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
    """A command under `fusecopy run`."""
    return plain(*prefix, FUSECOPY, "run", *command, cwd=cwd)


def plain(*command: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """A command."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS)


def program(name: str, *arguments: str | Path) -> tuple[str | Path, ...]:
    """One of the programs beside this file."""
    return sys.executable, HERE / name, *arguments


def said(done: "subprocess.CompletedProcess[str]") -> str:
    """What a command that succeeded has said."""
    assert done.returncode == 0, f"{done.args} ended with {done.returncode}: {done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout
