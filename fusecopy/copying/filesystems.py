"""Which filesystem a descriptor lies on, from the kernel's own tables.

st_dev does not tell: every btrfs subvolume has its own, and yet extents are shared between them.
"""

from typing import NamedTuple

from fusecopy.copying import calls


class Mount(NamedTuple):
    """A line of /proc/self/mountinfo: the mount's id, the superblock's major:minor, the type's name."""

    ident: str
    device: str
    name: str


UNKNOWN = Mount("", "", "unknown")
"""The mount of a descriptor that lies outside what this process can see (another mount namespace)."""


def mount_of(fd: int) -> Mount:
    """The mount a descriptor was opened on. Raises OSError for a closed descriptor."""
    with open(f"/proc/self/fdinfo/{fd}") as lines:
        ident = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
    with open("/proc/self/mountinfo", "rb") as table:
        for line in table:
            head, _, tail = line.decode(errors="surrogateescape").partition(" - ")
            fields = head.split(" ")
            if fields[0] == ident:
                return Mount(ident, fields[2], tail.split(" ")[0])
    return UNKNOWN


def same(one: int, other: int) -> bool:
    """Whether two descriptors lie on one filesystem, so that they could share extents."""
    if calls.one_filesystem(one, other):
        return True
    device = mount_of(one).device
    return device != "" and device == mount_of(other).device
