"""The mounts that a trace watches, and what their servers say of themselves."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fusecopy import asking, mounts
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import INFERRED, SEEN, Copy, Flow, Lost
from fusecopy.errors import UsageError
from fusecopy.names import BACKING, LOG, PASSTHROUGH
from fusecopy.observe.tracefs import TracingError

GREETING_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Watched:
    """A FUSE mount.

    Attributes:
        mountpoint: where it is.
        connection: the number that the kernel's events have.
        log: the dispatch log; None where the server is not fusecopy.
        backing: the directory served; None likewise.
        passthrough: the kernel reads and writes its files by itself, without a request.
    """

    mountpoint: str
    connection: int
    log: Path | None = None
    backing: str | None = None
    passthrough: bool = False


@dataclass(frozen=True, slots=True)
class Since:
    """A moment on the two clocks that the log has: nanoseconds of CLOCK_MONOTONIC, and local time."""

    monotonic: int
    wall: datetime


def named(points: Sequence[str]) -> list[mounts.Mount]:
    """The FUSE mounts at these mount points, or all there are if none is named; each connection once.

    Raises:
        UsageError: there is no FUSE mount, or not where one is named.
    """
    if points:
        found = [_at(point) for point in points]
    else:
        found = [mount for mount in mounts.mounts() if mount.is_fuse]
    if not found:
        raise UsageError("there is no FUSE mount here", "mount one first")
    return list({mount.connection: mount for mount in reversed(found)}.values())[::-1]


def greet(mount: mounts.Mount) -> Watched:
    """Ask a server for an answer, so that the trace shows who it is, and for its log.

    Raises:
        TracingError: it does not answer, or its log may not be read.
    """

    def ask() -> list[str]:
        os.statvfs(mount.mountpoint)  # the kernel never answers it from a cache
        return [os.fsdecode(_attribute(mount.mountpoint, name)) for name in (LOG, BACKING, PASSTHROUGH)]

    try:
        log, backing, passthrough = asking.within(GREETING_SECONDS, ask, mount)
        if log:
            asking.look(log)
    except OSError as error:
        raise TracingError(
            f"{mount.mountpoint}: {error.strerror}", f"fusecopy umount {mount.mountpoint}, or name others"
        ) from error
    if log and not os.access(log, os.R_OK):
        raise TracingError(
            f"{mount.mountpoint}: its dispatch log {log} may not be read", "trace as its owner, or as root"
        )
    path = Path(log) if log else None
    return Watched(mount.mountpoint, mount.connection, path, backing or None, passthrough == "yes")


def records(mount: Watched, since: Since) -> tuple[list[Copy | Flow], int]:
    """What a mount's log has had since a moment, and how many records it lost.

    Raises:
        LogError: the log cannot be read.
    """
    if not mount.log:
        return [], 0
    there = mounts.at(mount.mountpoint)
    if there:
        with suppress(OSError):  # being asked for its log, a server first writes what it holds
            asking.attributes(there, "log")
    found: list[Copy | Flow] = []
    lost = 0
    for record in current(mount.log):
        if isinstance(record, Copy | Flow) and record.mono_ns >= since.monotonic and _served(record):
            found.append(record)
        elif isinstance(record, Lost) and datetime.fromisoformat(record.time) >= since.wall:
            lost += record.count
    return found, lost


def _served(record: Copy | Flow) -> bool:
    """Whether the server was asked. What the kernel refused before that, the trace itself shows."""
    return not (isinstance(record, Copy) and record.evidence in (SEEN, INFERRED))


def living(found: Iterable[mounts.Mount], insist: bool) -> Iterator[Watched]:
    """The mounts, greeted; those that do not answer are left out, unless we insist.

    Raises:
        TracingError: one does not answer.
    """
    for mount in found:
        try:
            yield greet(mount)
        except TracingError:
            if insist:
                raise


def _at(point: str) -> mounts.Mount:
    mount = mounts.at(mounts.resolved(point))
    if mount is None or not mount.is_fuse:
        raise UsageError(f"{point} is not a FUSE mount", "name a mount point, as findmnt -t fuse shows them")
    return mount


def _attribute(mountpoint: str, name: str) -> bytes:
    try:
        return os.getxattr(mountpoint, name)
    except OSError:
        return b""
