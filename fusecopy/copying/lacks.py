"""Filesystems that have no clones: why that is, as far as their kind says it, and what would mend it."""

from typing import NamedTuple

from fusecopy.copying.filesystems import Mount


class Lack(NamedTuple):
    """What is to be said of a filesystem.

    Attributes:
        why: a sentence with a space before it, or empty.
        remedy: what can be done.
    """

    why: str
    remedy: str


_LOCAL = Lack("", "Keep both files on one btrfs, or on one XFS made with reflink=1.")

_FUSE = Lack(
    " Linux refuses clones on FUSE without asking its server (up to 7.3).",
    "Serve the directory behind that mount, if it lies on btrfs or XFS.",
)

_NFS = Lack(
    " NFS has clones since 4.2, from a server whose filesystem has them.",
    "Mount it with vers=4.2, from a server that keeps the files on btrfs, or on XFS made with reflink=1.",
)

_SMB = Lack(
    " SMB has clones since 3.0, from a server that offers them.",
    "Have the server share extents: Samba with vfs_btrfs on btrfs, or Windows on ReFS.",
)

_STACKED = Lack(
    " It hands clones on to the filesystem below.",
    "Put what lies below (of an overlay, its upper layer) on btrfs, or on XFS made with reflink=1.",
)

_KINDS = {
    "nfs": _NFS,
    "nfs4": _NFS,
    "cifs": _SMB,
    "smb3": _SMB,
    "overlay": _STACKED,
    "ecryptfs": _STACKED,
}


def lack(mount: Mount) -> Lack:
    """Why the filesystem of a mount has no clones, and what would mend it."""
    return _FUSE if mount.is_fuse else _KINDS.get(mount.name, _LOCAL)
