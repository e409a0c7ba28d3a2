"""Reading strace's output: which calls brought bytes into files below a directory.

Asked for are -f (each line begins with a process id), -y (descriptors with their paths) and -s 0.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from fusecopy.survey.records import Calls

OPTIONS = ("-f", "-y", "-qq", "-s", "0", "-e", "signal=none")

DESTINATIONS = {
    "copy_file_range": ("copy_file_range", 1),
    "sendfile": ("sendfile", 0),
    "splice": ("splice", 1),
    **dict.fromkeys(("write", "pwrite64", "writev", "pwritev", "pwritev2"), ("write", 0)),
}
"""What each call is told as, and which of the descriptors among its arguments is written to."""

CLONES = ("FICLONERANGE", "FIDEDUPERANGE", "FICLONE")
REMOVALS = ("unlink", "unlinkat")
TRACED = (*DESTINATIONS, "ioctl", "mmap", "io_uring_enter", *REMOVALS)

_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?: (E[A-Z]+))?")
_DESCRIPTOR = re.compile(r"(?:^|[ =])\d+<([^>]*)>")
_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")


class _Call(NamedTuple):
    name: str
    arguments: str
    result: int
    errno: str

    def file(self, number: int) -> str:
        """The path of the nth descriptor among the arguments; empty where there is none."""
        found = _DESCRIPTOR.findall(self.arguments)
        return found[number] if number < len(found) else ""


def read(lines: Iterable[str], below: Path) -> Calls:
    """What was called on files below a directory."""
    moved, refused, removed = Counter[str](), Counter[str](), list[str]()
    for call in _calls(lines):
        if call.name in REMOVALS:
            if call.result == 0 and (names := _NAME.findall(call.arguments)):
                removed.append(Path(names[0]).name)
            continue
        told, destination, count = _copied(call)
        if not told or not Path(destination).is_relative_to(below):
            continue
        if call.result < 0:
            refused[f"{told} {call.errno}"] += 1
        elif count:
            moved[told] += count
    return Calls(dict(moved), dict(refused), removed)


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
            yield _Call(found[2], found[3], int(found[4], 0), found[5] or "")
