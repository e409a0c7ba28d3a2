"""Asking a mount's server about itself, which may be stopped, stuck or gone.

Where root asks another user's mount, which the kernel opens to that user alone (fuse_allow_current_process,
fs/fuse/dir.c, Linux 6.1 to 7.2), the child that asks becomes that user.
"""

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from fusecopy import bounded, mounts
from fusecopy.errors import UsageError
from fusecopy.mounts import Mount
from fusecopy.names import PREFIX

T = TypeVar("T")

SECONDS = bounded.ANSWER_SECONDS

OTHERS_SECONDS = 10.0
"""For a filesystem that is not FUSE: an automount mounts first, a network may be slow."""

GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ESHUTDOWN)
"""Of whom a server that has ended served (fs/fuse/dev.c, Linux 6.1 to 7.2)."""


def attributes(mount: Mount, *names: str, seconds: float = SECONDS) -> list[str]:
    """Attributes of the server itself, by name without prefix.

    Raises:
        OSError: the error of the call; TimeoutError where no answer has come.
    """
    values = within(
        seconds, lambda: [os.getxattr(mount.mountpoint, f"{PREFIX}{name}") for name in names], mount
    )
    return [os.fsdecode(value) for value in values]


def set_attribute(mount: Mount, name: str, value: str, seconds: float = SECONDS) -> None:
    """Set one of them. Raises OSError as `attributes`."""
    within(seconds, lambda: os.setxattr(mount.mountpoint, f"{PREFIX}{name}", os.fsencode(value)), mount)


def within(seconds: float, act: Callable[[], T], mount: Mount | None) -> T:
    """What `act` returns or raises, done in a child, as the owner of a mount where only that may.

    Raises:
        TimeoutError: it has not ended after so many seconds.
    """

    def as_owner() -> T:
        if mount and not mount.allow_other and os.geteuid() == 0 and mount.owner != (0, 0):
            uid, gid = mount.owner
            os.setgroups([gid])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        return act()

    return bounded.call(as_owner, seconds)


def look(path: str) -> Mount | None:
    """Find out whether files at `path` can be looked at, before somebody does who has no bound. A local
    filesystem is not asked.

    Returns:
        The mount that the path lies on; None where that is not known.

    Raises:
        OSError: TimeoutError where no answer has come; one of GONE where nobody is left to give one. Other
            errors are answers.
    """
    mount = where(path)
    if mount and mount.is_local and ".." not in path.split("/"):
        return mount
    try:
        bounded.call(lambda: _reach(path), SECONDS if mount and mount.is_fuse else OTHERS_SECONDS)
    except OSError as error:
        if isinstance(error, TimeoutError) or error.errno in GONE:
            raise
    return mount


def where(path: str) -> Mount | None:
    """The mount that a path lies on; None where that is not known. Nothing but local filesystems is asked."""
    try:
        return mounts.of(os.fsencode(mounts.resolved(path)))
    except UsageError:  # of a relative path, in a directory without a name
        return None


def _reach(path: str) -> None:
    """The kernel asks a server for these, whatever it knows itself; that a file is missing it may know."""
    try:
        os.statvfs(path)
    except (FileNotFoundError, NotADirectoryError):
        os.statvfs(os.path.dirname(os.path.abspath(path)))
