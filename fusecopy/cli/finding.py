"""Which log a command means: a file, a mount's, or that of the only mount there is."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from fusecopy import asking, mounts, running
from fusecopy.cli.arguments import check_answers
from fusecopy.errors import LogError, UsageError
from fusecopy.terminal import say

FLUSH_SECONDS = 2.0
"""How long a server may take to write what it holds."""


def find_log(target: str | None) -> Path:
    """The log that `target` means: a file itself, or a mount point's. What the server still holds of it is
    written first, where it answers.

    Raises:
        UsageError: it is neither, or was not given and there is not exactly one mount.
        LogError: the mount does not tell.
        MountPointError: the log lies in a mount that does not answer.
    """
    log = _log_of(target)
    check_answers(str(log))
    return log


def _log_of(target: str | None) -> Path:
    at = mounts.resolved(target) if target else only_mount(mounts.mounts())
    mount = mounts.at(at)
    if mount is None or mount.fstype != mounts.FSTYPE:
        if target is not None:
            check_answers(target)
            if not os.path.isdir(target):
                return Path(target)
        raise UsageError(
            f"{at} is not the root of a fusecopy mount that has a log",
            "Name the mount point, or the log file.",
        )
    told = running.of(mount)
    if told and told.lives() is False:
        return Path(os.fsdecode(told.log))
    try:
        return Path(asking.attributes(mount, "log", seconds=FLUSH_SECONDS)[0])
    except OSError as error:
        return _without_answer(at, told, error)


def _without_answer(at: str, told: running.Running | None, error: OSError) -> Path:
    if told is None:
        raise LogError(
            f"{at}: the mount does not say where its log is: {error.strerror}", "Name the log file instead."
        ) from error
    if isinstance(error, TimeoutError):
        say(f"fusecopy: {at}: the server does not answer; what it holds is not shown", sys.stderr)
    return Path(os.fsdecode(told.log))


def only_mount(table: Iterable[mounts.Mount]) -> str:
    """The mount point of the one mount of this user, or, for root, of any user where root has none. Raises
    UsageError."""
    ours = [mount for mount in table if mount.fstype == mounts.FSTYPE]
    me = os.geteuid()
    own = [mount for mount in ours if mount.owner[0] == me] or (ours if me == 0 else [])
    # Of one that is bound to other places the place where it was mounted.
    own.sort(key=lambda mount: mount.root == "/")
    points = sorted({mount.device: mount.mountpoint for mount in own}.values())
    if not points:
        raise UsageError("there is no fusecopy mount of yours here", "Name a mount point or a log file.")
    if len(points) > 1:
        raise UsageError(f"there are several fusecopy mounts: {', '.join(points)}", "Name one of them.")
    return points[0]
