"""What the kernel refuses on FUSE before it asks the server, FICLONE and its like: how it is told, and how it
is inferred where it cannot be seen."""

import errno
from dataclasses import dataclass

from fusecopy.dispatch.records import INFERRED
from fusecopy.observe.caller import Caller

COPIES = ("FICLONE", "FICLONERANGE")
"""Of these the first file is a destination, with which the program may go on by another way."""

REFLINK = b"--reflink"
LEAST = len(b"--refl")
"""GNU programs take the beginning of an option for it; what is shorter others have, too (--ref)."""

ALWAYS = b"always"
NO_DATA = b"--attributes-only"


@dataclass(frozen=True, slots=True)
class RefusedByKernel:
    """A request that no server was asked.

    Attributes:
        caller: who asked.
        asked: the ioctl's name.
        source: path of the file to be cloned, empty where it is not known; of FIEMAP the file itself.
        length: bytes of it, 0 where they are not known.
        errno: the errno's name.
        cause, remedy: in words.
        paired: `call`, by the ioctl's arguments; `process`, by what the calling thread had open.
        evidence: SEEN or INFERRED.
        begun_ns, ended_ns: CLOCK_MONOTONIC.
    """

    caller: Caller
    asked: str
    source: bytes
    length: int
    errno: str
    cause: str
    remedy: str
    paired: str
    evidence: str
    begun_ns: int
    ended_ns: int

    @property
    def is_copy(self) -> bool:
        """Whether it would have put something into a file."""
        return self.asked in COPIES


def words(asked: str, code: int, evidence: str) -> tuple[str, str]:
    """Cause and remedy of a refusal."""
    if code == errno.EXDEV:
        return (
            f"{asked} was asked of files on two mounts, and the kernel clones within one only.",
            "Copy inside one mount; between two mounts of yours over one filesystem, use fusecopy run.",
        )
    cause = f"The kernel refuses {asked} on every FUSE mount, before it asks the server."
    if evidence == INFERRED:
        cause += (
            " That it was asked is inferred: the command line says --reflink, and the file was closed with"
            " nothing written."
        )
    plain = "Use plain cp, or put " if asked in COPIES else "Put "
    return (
        cause,
        f"{plain}fusecopy run before the command; or have your shell do it, once: fusecopy hook --help.",
    )


def asks_for_reflink(command: list[bytes]) -> bool:
    """Whether a command line asks for a reflink or nothing, as `cp --reflink` does; the last word counts."""
    asks = False
    for word in command[1:]:
        option, _, value = word.partition(b"=")
        if word == b"--" or _is(NO_DATA, option, len(b"--at")):
            return asks and word == b"--"
        if _is(REFLINK, option, LEAST):
            asks = option == word or (value != b"a" and _is(ALWAYS, value, 1))
    return asks


def _is(whole: bytes, word: bytes, least: int) -> bool:
    return len(word) >= least and whole.startswith(word)
