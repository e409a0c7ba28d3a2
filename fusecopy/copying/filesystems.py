"""Which filesystem a descriptor lies on, from the kernel's own tables.

st_dev does not tell: every btrfs subvolume has its own, and yet extents are shared between them.
"""

import os
import select
import threading
from functools import cache
from typing import NamedTuple

from fusecopy.copying import calls


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo: the mount's id, the superblock's major:minor, the type's name."""

    ident: str
    device: str
    name: str

    @property
    def is_fuse(self) -> bool:
        """A FUSE filesystem: its type is `fuse`, `fuse.NAME` or, on a block device, `fuseblk`."""
        return self.name in ("fuse", "fuseblk") or self.name.startswith("fuse.")


UNKNOWN = Mount("", "", "unknown")
"""The mount of a descriptor that lies outside what this process can see (another mount namespace)."""


class _Table:
    """The mount table, read again when it has changed: poll(2) tells, and a lookup is for every refusal."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._file = open("/proc/self/mountinfo", "rb")  # noqa: SIM115 (kept, to be told of changes)
        self._changes = select.poll()
        self._changes.register(self._file, select.POLLPRI)
        self._mounts: dict[int, Mount] = {}
        self._reads = 0

    def mount(self, ident: int) -> Mount:
        """The mount of an id. An id may be another mount's later, so what was known counts until a change."""
        with self._lock:
            self._keep_up()
            return self._mounts.get(ident, UNKNOWN)

    def changes(self) -> int:
        """How often it has changed since it was first looked at."""
        with self._lock:
            self._keep_up()
            return self._reads

    def _keep_up(self) -> None:
        if self._changes.poll(0) or not self._mounts:
            self._file.seek(0)
            # Not by splitlines: the kernel leaves a carriage return in a name as it is.
            self._mounts = dict(map(_parsed, self._file.read().rstrip(b"\n").split(b"\n")))
            self._reads += 1


def _parsed(line: bytes) -> tuple[int, Mount]:
    head, _, tail = line.decode(errors="surrogateescape").partition(" - ")
    ident, _, device, *_ = head.split(" ")
    return int(ident), Mount(ident, device, tail.split(" ")[0])


@cache
def _table(_process: int) -> _Table:
    """Each process has its own: after a fork both would share the file, and what poll(2) has told once."""
    return _Table()


def mount_of(fd: int) -> Mount:
    """The mount a descriptor was opened on. Raises OSError for a closed descriptor."""
    return _table(os.getpid()).mount(calls.mount_id(fd))


def changes() -> int:
    """Another number than before where what is mounted has changed since."""
    return _table(os.getpid()).changes()


def same(one: int, other: int) -> bool:
    """Whether two descriptors lie on one filesystem, so that they could share extents."""
    if calls.one_filesystem(one, other):
        return True
    device = mount_of(one).device
    return device != "" and device == mount_of(other).device
