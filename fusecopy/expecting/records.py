"""A copy that a command made, and what came of it. Sizes are bytes."""

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """What came of a copy."""

    SHARED = "shared"
    """Every byte that occupies storage lies in the source's extents."""
    REWRITTEN = "rewritten"
    """The bytes are equal, and some occupy storage of their own."""
    UNPROVABLE = "unprovable"
    """It cannot be known whether all bytes are shared."""
    CHANGED = "changed"
    """The bytes are others than the source's: the copy failed, or a file was changed before it was looked
    at."""
    NOTHING = "nothing"
    """It was asked for, and not a byte is there."""

    def __str__(self) -> str:
        return self.value


READ_WRITE = "read/write"
"""What programs do that ask the kernel for no copy: read(2), write(2), their like, mapped pages."""

CLONES = frozenset({"FICLONE", "FICLONERANGE"})
OFFLOADS = CLONES | {"copy_file_range"}
"""Calls that ask the filesystem."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One pair of files, and all that one command called to copy the one to the other.

    Attributes:
        program, process: who made it; of read/write, who opened the destination.
        source, destination: paths, as they were in the end.
        asked: the calls, in order of their first use.
        made_by: which of them made it, or READ_WRITE; None where that is not known.
        state: what came of it.
        size: bytes copied, holes too.
        shared, rewritten, unprovable, holes: of them.
        reason: why something is not known; empty where all is.
    """

    program: str
    process: int
    source: str
    destination: str
    asked: tuple[str, ...]
    made_by: str | None
    state: State
    size: int = 0
    shared: int = 0
    rewritten: int = 0
    unprovable: int = 0
    holes: int = 0
    reason: str = ""
