"""What was found of one rule."""

from enum import Enum
from typing import NamedTuple

NOTHING = "nothing"


class State(str, Enum):
    """Whether a server keeps a rule."""

    OK = "ok"
    NOT_OK = "not ok"
    UNKNOWN = "unknown"
    """It could not be found out."""

    def __str__(self) -> str:
        return self.value


class Verdict(NamedTuple):
    """What was found of one rule.

    Attributes:
        state: whether it is kept.
        found: what was measured.
        seen: what a user would see of that.
    """

    state: State
    found: str
    seen: str = NOTHING


class Finding(NamedTuple):
    """One line of the table: a rule's name, and the rest as Verdict has it."""

    name: str
    state: State
    found: str
    seen: str
