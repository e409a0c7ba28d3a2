"""Asking a mount's server about itself, which may be stopped, stuck or gone.

Where root asks another user's mount, which the kernel opens to that user alone (fuse_allow_current_process,
fs/fuse/dir.c, Linux 6.1 to 7.2), the child that asks becomes that user.
"""

import os
from collections.abc import Callable
from typing import TypeVar

from fusecopy import bounded
from fusecopy.mounts import Mount
from fusecopy.names import PREFIX

T = TypeVar("T")

SECONDS = bounded.ANSWER_SECONDS


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
