"""Tasks: a program each, in scripts/labbing/tasks, run in the clone, in a guest or here.

What it writes into the directory RESULT is brought back; its output and its exit status say how it went.
"""

import os
import subprocess
from pathlib import Path

from labbing.guest import CLONE
from labbing.machine import Done

DIRECTORY = Path(__file__).with_name("tasks")


def names() -> list[str]:
    """The tasks there are."""
    return sorted(path.name for path in DIRECTORY.iterdir())


def run_here(task: str, seconds: int, left: Path) -> Done:
    """Run a task on this machine's kernel, after scripts/setup."""
    command = f'scripts/setup && exec "{DIRECTORY / task}"'
    done = subprocess.run(
        ["timeout", str(seconds), "sh", "-c", command],
        cwd=CLONE, env={**os.environ, "RESULT": str(left)}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
    )  # fmt: skip
    (left / "output").write_text(done.stdout)
    (left / "status").write_text(f"{done.returncode}\n")
    return Done(done.returncode, done.stdout)
