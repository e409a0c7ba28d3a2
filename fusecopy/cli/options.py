"""The words of -o, as mount(8), fstab and libfuse know them."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fusecopy.dispatch.logfile import KEEP, LEAST_BYTES, MAX_BYTES, MOST_KEPT
from fusecopy.errors import UsageError
from fusecopy.sizes import bytes_of

FORWARDED = {
    "allow_other",
    "allow_root",
    "auto_unmount",
    "default_permissions",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
}
OWN = {"log", "log_size", "log_keep", "paths", "decline", "refuse", "timeout", "max_read"}
OWN_FLAGS = {
    "strict",
    "noatime",
    "coherent",
    "exclusive",
    "kernel_cache",
    "passthrough",
    "nosymfollow",
    "remount",
    "io_uring",
    "no-io_uring",
    "trace_ioctls",
}
FOR_MOUNT = {
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "auto",
    "noauto",
    "defaults",
    "_netdev",
    "nofail",
    "silent",
    "loud",
}
"""Words for mount(8) and what reads fstab."""
NOTHING_HERE = {
    "atime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "diratime",
    "nodiratime",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "symfollow",
}
"""What the backing's own mount decides, or what is so anyhow. FUSE keeps no times itself."""


@dataclass(slots=True)
class Words:
    """What -o asked for: options of libfuse and the kernel, and our own with their values."""

    forwarded: set[str] = field(default_factory=set)
    own: dict[str, str] = field(default_factory=dict)


def parse(values: Iterable[str]) -> Words:
    """Sort the comma-separated words of every -o.

    Raises:
        UsageError: a word is unknown; the message suggests the nearest.
    """
    words = Words()
    for word in (word for value in values for word in value.split(",") if word):
        key, equals, value = word.partition("=")
        if key in FOR_MOUNT | NOTHING_HERE or key.startswith(("x-", "X-")) or key == "comment":
            continue
        if key in FORWARDED and not equals:
            words.forwarded.add(word)
        elif (key in OWN and equals) or (key in OWN_FLAGS and not equals):
            words.own[key] = value
        else:
            raise UsageError(f"-o {word}: unknown option{_suggestion(key)}", "see fusecopy mount --help")
    return words


def log_limits(own: Mapping[str, str | bool]) -> tuple[int, int]:
    """Bytes at which the log is rotated, and how many files are kept. Raises UsageError."""
    size = bytes_of(str(own.get("log_size", MAX_BYTES)))
    if size < LEAST_BYTES:
        raise UsageError(f"log_size={own['log_size']} is too small", f"Give {LEAST_BYTES >> 10}K or more.")
    keep = str(own.get("log_keep", KEEP))
    if not keep.isascii() or not keep.isdecimal() or not 1 <= int(keep) <= MOST_KEPT:
        raise UsageError(f"log_keep={keep} is not a number of files", f"Give 1 to {MOST_KEPT}.")
    return size, int(keep)


def _suggestion(key: str) -> str:
    known = FORWARDED | OWN | OWN_FLAGS
    near = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
