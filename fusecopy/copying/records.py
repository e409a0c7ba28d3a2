"""What a copy is asked for and what became of it.

Offsets and lengths are bytes. Errnos are the kernel's positive numbers here and names in the dispatch log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class CopyPath(str, Enum):
    """What carried a range."""

    REFLINK = "reflink"
    COPY_FILE_RANGE = "copy_file_range"
    SPLICE = "splice"
    SENDFILE = "sendfile"
    READWRITE = "readwrite"
    DEDUPE = "dedupe"

    # Enum's own are Python code, and these are asked for with every copy.
    __hash__ = str.__hash__
    __str__ = str.__str__


class Request(NamedTuple):
    """One copy between two open regular files of the backing.

    Attributes:
        source: descriptor open for reading.
        destination: descriptor open for writing, without O_APPEND.
        offset_in: where in the source the range begins.
        offset_out: where in the destination it begins.
        length: bytes wanted, at least 1; the source's end may cut it.
    """

    source: int
    destination: int
    offset_in: int
    offset_out: int
    length: int


class Attempt(NamedTuple):
    """One try of one path on one range.

    Attributes:
        path: the path that was tried.
        offset_in: where in the source the try began.
        offset_out: where in the destination it began.
        length: bytes the try was made for.
        carried: bytes it carried, from its beginning.
        errno: the error that ended it, or 0.
        reason: in a few words why it carried less than `length`, where the errno does not say it, or what
            is not known of how it did.
    """

    path: CopyPath
    offset_in: int
    offset_out: int
    length: int
    carried: int
    errno: int = 0
    reason: str = ""


class Outcome(NamedTuple):
    """What became of one request.

    Attributes:
        attempts: every try, in order.
        copied: bytes of the range that are now in the destination, counted from its beginning.
        errno: the error that ended the copy, or 0. With `copied` above 0 the caller must be told
            the count and not the error: on an error the kernel neither drops the destination's cached
            pages nor grows its size (fs/fuse/file.c, Linux 6.1 to 7.2).
        complete: the whole range was dealt with, or the source ended; False where the copy was cut
            short on purpose (budget, interruption) and asking again would go on.
    """

    attempts: Sequence[Attempt]
    copied: int
    errno: int
    complete: bool

    def carried(self) -> dict[CopyPath, int]:
        """Bytes each path carried, in the order in which the paths first carried something."""
        totals: dict[CopyPath, int] = {}
        for attempt in self.attempts:
            if attempt.carried:
                totals[attempt.path] = totals.get(attempt.path, 0) + attempt.carried
        return totals


class Copied(NamedTuple):
    """One file of a tree that was copied, while both are open. `path` is relative to the tree's top."""

    path: bytes
    request: Request
    outcome: Outcome
    begun_ns: int


class Proof(str, Enum):
    """How the number of shared bytes is known."""

    FIEMAP = "fiemap"
    """Extents of both ranges were compared after the copy."""
    WRITTEN = "written"
    """Every byte was moved by a write, so nothing can be shared by this copy."""
    UNPROVABLE = "unprovable"
    """The backing does not say: its FIEMAP proves nothing, or the data lies inside metadata."""
    CHANGED = "changed meanwhile"
    """Somebody else changed one of the files after the copy, before it was proven."""

    __hash__ = str.__hash__
    __str__ = str.__str__


class Sharing(NamedTuple):
    """How much of a destination range shares extents with its source range.

    Attributes:
        shared: bytes proven to lie in the same extents as the source, both flagged shared.
        holes: bytes of the range that lie in holes of the destination and occupy nothing.
        unprovable: bytes of which nothing can be said (no places, inline, compressed). The rest of the range
            lies in extents of its own.
        proof: how this is known.
        reason: in a few words why bytes are unprovable; empty where none are.
    """

    shared: int
    holes: int
    unprovable: int
    proof: Proof
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a copy or a path was refused, for a person.

    Attributes:
        errno: the errno the kernel gave.
        cause: a sentence that names the rule and the facts looked up.
        remedy: a sentence that says what would mend it; empty where nothing does.
    """

    errno: int
    cause: str
    remedy: str
