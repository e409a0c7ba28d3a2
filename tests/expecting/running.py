"""Commands under `fusecopy expect`, and what it says of their copies."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mounted import FUSECOPY

SECONDS = 60

AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")


@dataclass(frozen=True)
class Judged:
    """What expect made of a command: its exit status, one object for each copy, and the verdict."""

    status: int
    copies: list[dict[str, Any]]
    verdict: dict[str, Any]
    said: str

    def of(self, name: str) -> dict[str, Any]:
        """The one copy to the file of that name."""
        found = [copy for copy in self.copies if Path(copy["destination"]).name == name]
        assert len(found) == 1, f"{name}: {found} of {self.copies}"
        return found[0]


def expect(
    *words: str, cwd: Path, expected: Sequence[str] = (), prefix: Sequence[str] = (), out: Path | None = None
) -> Judged:
    """A command under expect, which writes its verdict to a file of its own."""
    verdict = (out or cwd) / "verdict.json"
    done = subprocess.run(
        [*prefix, "env", "-C", cwd, FUSECOPY, "expect", *expected, "--json", "-o", verdict, "--", *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    lines = [json.loads(line) for line in verdict.read_text().splitlines()]
    verdict.unlink()
    assert "Traceback" not in done.stderr, done.stderr
    assert lines, f"{done.returncode}: {done.stderr}"
    return Judged(done.returncode, lines[:-1], lines[-1], done.stdout + done.stderr)


def refused(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """The same with words of ours alone."""
    return subprocess.run(
        [FUSECOPY, "expect", *words], cwd=cwd, capture_output=True, text=True, timeout=SECONDS
    )
