"""Acting as the process that sent a request, for what it creates.

The kernel has checked the caller's rights (default_permissions). Creation is done with the caller's ids all
the same, because the backing decides by them whose the new file is, what a setgid directory or a default ACL
makes of it, which quota pays, and which mode bits survive.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from fusecopy.filesystem import kernel


class Context(Protocol):
    """The caller of a request, as pyfuse3 and fusecopy.serving name it."""

    @property
    def pid(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def umask(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Rights:
    """What the kernel decides by when a process asks for a file.

    Attributes:
        uid, gid: the filesystem ids.
        groups: the supplementary groups.
        capabilities: those in effect, as a bit mask.
    """

    uid: int
    gid: int
    groups: list[int]
    capabilities: int


class Credentials:
    """The server's own ids, to which every thread returns."""

    def __init__(self) -> None:
        self.uid, self.gid, self.groups = os.geteuid(), os.getegid(), os.getgroups()

    @contextmanager
    def of(self, ctx: Context) -> Iterator[None]:
        """Let this thread act with the caller's filesystem ids; other threads keep theirs.

        Only a root server can, and only a root server serves others (allow_other).
        """
        if self.uid != 0 or (ctx.uid, ctx.gid) == (self.uid, self.gid):
            yield
            return
        try:
            kernel.become(ctx.uid, ctx.gid, supplementary_groups(ctx.pid))
            yield
        finally:
            kernel.become(self.uid, self.gid, self.groups)

    @contextmanager
    def creating(self, ctx: Context) -> Iterator[None]:
        """The same with the caller's umask, for what it creates: the backing takes a default ACL of the
        directory in its place (posix_acl_create, fs/posix_acl.c)."""
        kernel.set_umask(ctx.umask)
        with self.of(ctx):
            yield

    def rights(self, ctx: Context) -> Rights | None:
        """The caller's rights, for threads that act for it on their own; None where they are the server's.

        Raises:
            PermissionError: the caller is another user, whose rights this server cannot take on.
        """
        if self.uid == 0:
            groups, capabilities = supplementary_groups(ctx.pid), effective_capabilities(ctx.pid)
            return Rights(ctx.uid, ctx.gid, groups, capabilities)
        if ctx.uid not in (0, self.uid):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return None


def assume(rights: Rights | None) -> None:
    """Let this thread have these rights and no others, for the rest of its life."""
    if rights:
        # A change of the filesystem user id changes capabilities too (capabilities(7)), so they come last.
        kernel.become(rights.uid, rights.gid, rights.groups)
        kernel.set_capabilities(rights.capabilities)


def effective_capabilities(pid: int) -> int:
    """A thread's effective capabilities as a bit mask; none where they count in a user namespace of its own
    only, or cannot be seen."""
    try:
        if os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user"):
            return 0
        with open(f"/proc/{pid}/status", "rb") as status:
            return next(int(line.split()[1], 16) for line in status if line.startswith(b"CapEff:"))
    except (OSError, StopIteration):
        return 0


def supplementary_groups(pid: int) -> list[int]:
    """The groups of a thread; none where it is gone or in a pid namespace we cannot see."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Groups:"):
                    return [int(word) for word in line.split()[1:]]
    except OSError:
        pass
    return []
