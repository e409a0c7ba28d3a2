"""/proc/PID/status: the process of a thread, and what the kernel lets it do."""

import os
from typing import NamedTuple


class Status(NamedTuple):
    """A thread as it is now.

    Attributes:
        process: its process id.
        uid, gid: its filesystem ids, in our user namespace.
        groups: its supplementary groups.
        capabilities: those in effect, as a bit mask; in its own user namespace.
    """

    process: int
    uid: int
    gid: int
    groups: list[int]
    capabilities: int


def status(thread: int) -> Status:
    """Look it up. Raises OSError where the thread is gone or may not be seen."""
    # Not by splitlines: a process may have a carriage return in its name.
    fields = dict(line.split(b":", 1) for line in _read(thread).split(b"\n") if b":" in line)
    uid, gid = (
        int(fields[name].split()[3]) for name in (b"Uid", b"Gid")
    )  # real, effective, saved, filesystem
    groups = [int(group) for group in fields[b"Groups"].split()]
    return Status(int(fields[b"Tgid"]), uid, gid, groups, int(fields[b"CapEff"], 16))


def _read(thread: int) -> bytes:
    """All of it: who is in hundreds of groups has more than a page."""
    fd = os.open(f"/proc/{thread}/status", os.O_RDONLY | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        return file.readall()
