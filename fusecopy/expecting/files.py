"""Files that are held by what they are, not by name, and opened when they are to be looked at.

A descriptor opened O_PATH stays the same file whatever becomes of its name, and is not open by the kernel's
rules: it holds no lock, has execve(2) not fail with ETXTBSY, and sends a server nothing when it is closed.
"""

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

Opener = Callable[[int], AbstractContextManager[int]]
"""Opens a file for reading, by its O_PATH descriptor, as its filesystem has it. Raises OSError and
FusecopyError."""

Identity = tuple[int, int]
"""st_dev and st_ino."""


@dataclass(frozen=True, slots=True)
class Held:
    """A file, by a descriptor opened O_PATH that is ours to close."""

    fd: int
    identity: Identity
    mode: int

    @property
    def path(self) -> str:
        """Its name, as it is now; with " (deleted)" where it has none."""
        return os.readlink(f"/proc/self/fd/{self.fd}")

    @property
    def regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    def close(self) -> None:
        os.close(self.fd)


def held(fd: int) -> Held:
    """Take over a descriptor. Raises OSError, and closes it."""
    try:
        found = os.fstat(fd)
    except OSError:
        os.close(fd)
        raise
    return Held(fd, (found.st_dev, found.st_ino), found.st_mode)
