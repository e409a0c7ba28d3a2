"""What bounds one call: a budget of time and bytes, and the wish to be interrupted.

A caller of copy_file_range on FUSE cannot be killed while its request is served, and the destination stays
locked meanwhile; so one request is kept short.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Budget:
    """What the paths that move bytes may use up in one call. reflink and dedupe are not bounded by it.

    Attributes:
        seconds: no new chunk is begun after so long.
        bytes: no more than this is moved. copy_file_range is not charged for chunks that went faster than
            memory can be copied: those were shared.
    """

    seconds: float = 2.0
    bytes: int = 256 * MIB


class Stop(Enum):
    """Why a path stopped early without an error. The value is the attempt's reason."""

    ENDED = "the source ended"
    BUDGET = "the budget of one call is used up"
    INTERRUPTED = "interrupted"


class Limits:
    """One call's budget as it is used up. Belongs to one thread."""

    def __init__(self, budget: Budget, interrupted: Callable[[], bool]) -> None:
        self._interrupted = interrupted
        self._deadline = time.monotonic() + budget.seconds
        self._left = budget.bytes
        self._begun = False

    def room(self, length: int) -> int:
        """How much of `length` the next chunk may have: at least 1, so that every call does something."""
        return min(length, max(self._left, 1))

    def spend(self, moved: int) -> None:
        """Note a chunk done and the bytes it cost."""
        self._begun = True
        self._left -= moved

    def stop(self) -> Stop | None:
        """Asked before every chunk: why it must not begin, or None. The budget always allows a first one."""
        if stop := self.interruption():
            return stop
        if self._begun and (self._left <= 0 or time.monotonic() > self._deadline):
            return Stop.BUDGET
        return None

    def interruption(self) -> Stop | None:
        """The same for the paths that the budget does not bound."""
        return Stop.INTERRUPTED if self._interrupted() else None
