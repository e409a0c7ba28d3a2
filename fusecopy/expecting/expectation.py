"""What copies are expected to be, and whether they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fusecopy.errors import UsageError
from fusecopy.expecting.records import OFFLOADS, Copy, State

UNKNOWN = frozenset({State.UNPROVABLE, State.CHANGED})
"""States of copies of which it is not known what came of them."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is expected of all copies of a command.

    Attributes:
        word: reflink: every copy is shared. offload: every copy was made by a call that asks the filesystem.
            no-fallback: whatever was asked of the filesystem is shared; other copies may be. shared: so many
            percent of the bytes are.
        percent: of shared; else 0.
        allow_unknown: what cannot be known does not count.
    """

    word: str
    percent: float = 0.0
    allow_unknown: bool = False

    def __str__(self) -> str:
        return f"shared={self.percent:g}%" if self.word == "shared" else self.word

    def breaks(self, copy: Copy) -> bool:
        """Whether this copy is one that should not be; with `shared`, whether it takes storage."""
        if copy.state is State.SHARED:
            return False
        if self.word == "no-fallback" and not OFFLOADS.intersection(copy.asked):
            return False
        if self.word == "offload":
            return copy.made_by not in OFFLOADS and not (self.allow_unknown and _offload_unknown(copy))
        return not (self.allow_unknown and copy.state in UNKNOWN)

    def unmet(self, copies: Sequence[Copy], unseen: int) -> str:
        """Why it does not hold, in words; empty where it does.

        Args:
            unseen: calls of which nothing is known.
        """
        if unseen and not self.allow_unknown:
            return f"{unseen} calls were made by programs that may not be looked at"
        if not copies and self.word != "no-fallback":
            return "no copy was seen"
        if self.word == "shared":
            return self._too_little(copies)
        broken = sum(map(self.breaks, copies))
        return f"{broken} of {len(copies)} copies {_WORDS[self.word]}" if broken else ""

    def _too_little(self, copies: Sequence[Copy]) -> str:
        counted = [copy for copy in copies if not (self.allow_unknown and copy.state in UNKNOWN)]
        shared = sum(copy.shared for copy in counted)
        stored = sum(copy.size - copy.holes for copy in counted)
        if shared * 100 >= stored * self.percent and (stored or not any(map(self.breaks, copies))):
            return ""
        return f"{shared} of {stored} bytes are shared"


_WORDS = {
    "reflink": "are not shared",
    "offload": "were not left to the filesystem",
    "no-fallback": "fell back",
}


def _offload_unknown(copy: Copy) -> bool:
    return copy.made_by is None and copy.state is not State.NOTHING


def parse(text: str, allow_unknown: bool) -> Expectation:
    """An expectation of the command line. Raises UsageError."""
    if text in _WORDS:
        return Expectation(text, allow_unknown=allow_unknown)
    found = re.fullmatch(r"shared=(\d{1,3}(?:\.\d+)?)%?", text)
    if found and float(found[1]) <= 100:
        return Expectation("shared", float(found[1]), allow_unknown)
    raise UsageError(
        f"{text}: nothing that can be expected", "Expect reflink, offload, no-fallback or shared=N%."
    )
