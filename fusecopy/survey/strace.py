"""Reading strace's output: which calls brought bytes into files below a directory.

Asked for are -f (each line begins with a process id), -ttt (then the time), -y (descriptors with paths) and
-s 0.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fusecopy.survey.records import Calls

OPTIONS = ("-f", "-ttt", "-y", "-qq", "-s", "0", "-e", "signal=none")

DESTINATIONS = {
    "copy_file_range": ("copy_file_range", 1),
    "sendfile": ("sendfile", 0),
    "splice": ("splice", 1),
    **dict.fromkeys(("write", "pwrite64", "writev", "pwritev", "pwritev2"), ("write", 0)),
}
"""What each call is told as, and which of the descriptors among its arguments is written to."""

CLONES = ("FICLONERANGE", "FIDEDUPERANGE", "FICLONE")
REMOVALS = ("unlink", "unlinkat")
RENAMES = ("rename", "renameat", "renameat2")
TRACED = (*DESTINATIONS, "ioctl", "mmap", *REMOVALS, *RENAMES)

_CALL = re.compile(r"\d+ +([\d.]+) (\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?: (E[A-Z]+))?")
_DESCRIPTOR = re.compile(r"(?:^|[ =])\d+<([^>]*)>")
_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')
_RESUMED = re.compile(r"(\d+) +[\d.]+ <\.\.\. \w+ resumed>(.*)")


@dataclass(frozen=True, slots=True)
class Names:
    """Names, without directories, that files and directories do not have any more.

    Attributes:
        removed: of files.
        renamed: and when, in seconds since the epoch, last.
    """

    removed: set[str] = field(default_factory=set)
    renamed: dict[str, float] = field(default_factory=dict)


class _Call(NamedTuple):
    time: float
    name: str
    arguments: str
    result: int
    errno: str

    def named(self) -> str:
        """The first name among the arguments, without its directory."""
        found = _NAME.search(self.arguments)
        return Path(found[1]).name if found else ""

    def file(self, number: int) -> str:
        """The path of the nth descriptor among the arguments; empty where there is none."""
        found = _DESCRIPTOR.findall(self.arguments)
        return found[number] if number < len(found) else ""


def read(lines: Iterable[str], below: Path) -> tuple[Calls, Names]:
    """What was called on files below a directory, and the names that are gone."""
    moved, refused, names = Counter[str](), Counter[str](), Names()
    for call in _calls(lines):
        if call.result == 0 and call.name in REMOVALS:
            names.removed.add(call.named())
        elif call.result == 0 and call.name in RENAMES:
            names.renamed[call.named()] = call.time
        told, destination, count = _copied(call)
        if not told or not Path(destination).is_relative_to(below):
            continue
        if call.result < 0:
            refused[f"{told} {call.errno}"] += 1
        elif count:
            moved[told] += count
    return Calls(dict(moved), dict(refused)), names


def _copied(call: _Call) -> tuple[str, str, int]:
    """What a call is told as, the file it writes to, and how much; told as nothing where it writes none."""
    match call.name:
        case "ioctl":
            kind = next((kind for kind in CLONES if kind in call.arguments), "")
            return kind, call.file(0), 1
        case "mmap":
            is_writable = "PROT_WRITE" in call.arguments and "MAP_SHARED" in call.arguments
            length = re.search(r", (\d+), PROT", call.arguments)
            return "mmap" if is_writable else "", call.file(0), int(length[1]) if length else 0
        case name if name in DESTINATIONS:
            told, number = DESTINATIONS[name]
            return told, call.file(number), call.result
        case _:
            return "", "", 0


def _calls(lines: Iterable[str]) -> Iterator[_Call]:
    """Whole calls: what strace broke off because another process's came between is put together again."""
    begun: dict[str, str] = {}
    for line in lines:
        text = line.rstrip("\n")
        if text.endswith(" <unfinished ...>"):
            begun[text.split(maxsplit=1)[0]] = text.removesuffix(" <unfinished ...>")
            continue
        if resumed := _RESUMED.match(text):
            text = begun.pop(resumed[1], "") + resumed[2]
        found = _CALL.match(text)
        if found and found[4] != "?":
            yield _Call(float(found[1]), found[2], found[3], int(found[4], 0), found[5] or "")
