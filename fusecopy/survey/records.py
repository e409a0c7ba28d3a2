"""What a survey finds out. Sizes are bytes; these records are its JSON, too."""

from typing import Literal

import msgspec

State = Literal["agree", "disagree", "missing", "failed"]


class Calls(msgspec.Struct, frozen=True):
    """What a program was seen to call on files of its directory.

    Attributes:
        moved: bytes by what brought them: copy_file_range, sendfile, splice, write; of mmap what was mapped
            shared and writable; of FICLONE and its like the number of calls. What our own tracer notes has
            the copies' sizes, and read/write for all that is not asked for.
        refused: calls that failed, as "FICLONE EOPNOTSUPP", and how often.
        tracer: strace, or "fusecopy expect" where that is not installed.
    """

    moved: dict[str, int] = {}
    refused: dict[str, int] = {}
    tracer: str = "strace"


class Logged(msgspec.Struct, frozen=True):
    """What the log said of a program: all records alike in these.

    Attributes:
        dispatch: as in the log; "flow" for writes without a known source.
        path: what copied most of each.
        driver: the system call behind it.
        records: how many.
        bytes: copied, or written where the program itself moved them.
        shared: of them; None where it is unprovable of some.
        errno: that ended them.
    """

    dispatch: str
    path: str
    driver: str
    records: int
    bytes: int
    shared: int | None
    errno: str | None = None


class Row(msgspec.Struct, frozen=True):
    """One program.

    Attributes:
        version: as it tells it; empty where it is missing.
        line: what was run.
        state: whether strace and log agree; missing: the program, or something it needs, is not installed.
        why: what is missing, went wrong or differs.
    """

    program: str
    version: str
    line: str
    state: State
    why: str = ""
    calls: Calls = Calls()
    logged: list[Logged] = []


class Survey(msgspec.Struct, frozen=True):
    """All programs on one filesystem."""

    kernel: str
    filesystem: str
    rows: list[Row]
