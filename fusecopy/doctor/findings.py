"""What was found of one thing."""

import os
import subprocess
from enum import Enum
from typing import NamedTuple

SECONDS = 10
"""The longest a program that is asked for its version may take."""


class State(str, Enum):
    """How well something works."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """It could not be measured."""

    def __str__(self) -> str:
        return self.value


class Finding(NamedTuple):
    """One line of a report.

    Attributes:
        name: of the thing.
        state: how well it works.
        found: what was measured.
        meaning: what that means for copies, in a few words.
    """

    name: str
    state: State
    found: str
    meaning: str


def refused(error: OSError) -> str:
    """An error's words, for `found`."""
    return os.strerror(error.errno or 0)


def version(release: str) -> tuple[int, int]:
    """The first two numbers of a release such as "6.18.44-generic"; (0, 0) where it has none."""
    words = release.replace("-", ".").split(".")
    if len(words) < 2 or not (words[0].isdecimal() and words[1].isdecimal()):
        return 0, 0
    return int(words[0]), int(words[1])


def output(*command: str) -> str:
    """What a program prints; nothing where it is missing, fails or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
