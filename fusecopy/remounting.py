"""Changing the flags of a mount that is there: mount -o remount, and flags that libfuse has no word for.

By mount(2) itself: fusermount3 cannot, and newer mount(8) hands all options of the mount table to the kernel
again, where FUSE takes none of its own at a remount (fuse_parse_param, fs/fuse/inode.c, Linux 5.8).
"""

import ctypes
import os
from collections.abc import Set

from fusecopy.errors import MountRefusedError
from fusecopy.mounts import Mount

MS_REMOUNT = 32
MS_BIND = 4096

FLAGS = {
    "ro": 1,
    "nosuid": 2,
    "nodev": 4,
    "noexec": 8,
    "sync": 16,
    "dirsync": 128,
    "nosymfollow": 256,
    "noatime": 1024,
    "nodiratime": 2048,
    "relatime": 1 << 21,
}
"""Flags by the names that /proc/self/mountinfo and mount(8) have for them (linux/mount.h)."""

OPPOSITES = {
    "rw": "ro",
    "suid": "nosuid",
    "dev": "nodev",
    "exec": "noexec",
    "async": "sync",
    "symfollow": "nosymfollow",
}


def change(mount: Mount, words: Set[str], *, whole: bool) -> None:
    """Give a mount other flags; those that no word names stay as they are.

    Args:
        words: names of flags, or of their opposites; others mean nothing here.
        whole: of the file system wherever it is mounted, not of this mount alone.

    Raises:
        MountRefusedError: the kernel would not, as where files are open to be written (ro).
    """
    names = mount.flags | {word for word in words if word in FLAGS}
    names -= {OPPOSITES[word] for word in words if word in OPPOSITES}
    flags = MS_REMOUNT | (0 if whole else MS_BIND)
    for name in names:
        flags |= FLAGS.get(name, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", os.fsencode(mount.mountpoint), None, ctypes.c_ulong(flags), None):
        reason = os.strerror(ctypes.get_errno())
        raise MountRefusedError(f"{mount.mountpoint}: the kernel would not change its flags: {reason}")
