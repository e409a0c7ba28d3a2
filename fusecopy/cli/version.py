"""fusecopy --version: everything a bug report needs."""

import os
import platform
from pathlib import Path

from fusecopy import __version__, libfuse, mounts
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Header
from fusecopy.errors import LogError


def describe() -> str:
    """One line: fusecopy; pyfuse3; libfuse; kernel; FUSE protocol."""
    versions = libfuse.versions()
    return "; ".join(
        [
            f"fusecopy {__version__}",
            f"pyfuse3 {versions['pyfuse3']}",
            f"libfuse {versions['libfuse']}",
            f"kernel {platform.release()}",
            f"FUSE protocol {_protocol()}",
        ]
    )


def _protocol() -> str:
    """The kernel tells it to a server when a mount begins, so a running mount's log knows it."""
    for mount in mounts.ours():
        try:
            first = next(current(Path(os.fsdecode(os.getxattr(mount.mountpoint, "user.fusecopy.log")))))
        except (OSError, LogError, StopIteration):
            continue
        if isinstance(first, Header):
            return first.protocol
    return "unknown (nothing is mounted)"
