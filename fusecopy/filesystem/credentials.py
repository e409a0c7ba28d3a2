"""Acting as the process that sent a request, for what it creates.

The kernel has checked the caller's rights (default_permissions). Creation is done with the caller's ids all
the same, because the backing decides by them whose the new file is, what a setgid directory or a default ACL
makes of it, which quota pays, and which mode bits survive. Whatever else takes up room is done with the
caller's ids too: by them, and by CAP_SYS_RESOURCE, the backing decides who may have the blocks kept for root
and who may exceed a quota (ext4_has_free_clusters, fs/ext4/balloc.c; ignore_hardlimit, fs/quota/dquot.c;
qgroup_reserve, fs/btrfs/qgroup.c, Linux 6.1 to 7.2).
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fusecopy.filesystem import kernel
from fusecopy.native import callers, opening
from fusecopy.observe.status import status

R = TypeVar("R")

CAP_FOWNER = 1 << 3
CAP_SYS_RESOURCE = 1 << 24

OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""With these a filesystem refuses room that it may give to others."""


OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


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
    """The server's own ids and capabilities, to which every thread returns.

    Only a root server can take on others', and only a root server serves others (allow_other).
    """

    def __init__(self) -> None:
        self.uid, self.gid, self.groups = os.geteuid(), os.getegid(), os.getgroups()
        self._capabilities = kernel.capabilities() & ~CAP_SYS_RESOURCE

    def renounce(self) -> None:
        """Take CAP_SYS_RESOURCE from this thread, and from those that it starts: a caller who has it is given
        it where it counts (`spend`), and nobody else's write has to ask."""
        if self.uid == 0:
            kernel.set_capabilities(self._capabilities)

    def act(self, ctx: Context, operation: Callable[[], R]) -> R:
        """Carry out `operation` with the caller's filesystem ids, groups and capabilities."""
        if self.uid != 0 or (ctx.uid, ctx.gid) == (self.uid, self.gid):
            return self.spend(ctx, operation)
        with self.of(ctx):
            return operation()

    def create(self, ctx: Context, operation: Callable[[], R]) -> R:
        """The same with the caller's umask, for what it creates: the backing takes a default ACL of the
        directory in its place (posix_acl_create, fs/posix_acl.c)."""
        opening.set_umask(ctx.umask)
        return self.act(ctx, operation)

    def spend(self, ctx: Context, operation: Callable[[], R], without: int = 0) -> R:
        """Carry out what takes up room and was permitted by the kernel: as the server, but for the room,
        which the caller takes.

        Whether it may have more than others is looked up only where there is none left for them; `operation`
        is then carried out a second time.

        Args:
            without: capabilities (a bit mask) by which the backing gives more room, too.
        """
        if self.uid != 0:
            return operation()
        try:
            with self.paying(ctx.uid, without):
                return operation()
        except OSError as error:
            if error.errno not in OUT_OF_ROOM:
                raise
        groups, theirs = standing(ctx.pid)
        gives_room = CAP_SYS_RESOURCE | without
        capabilities = self._capabilities & ~gives_room | theirs & gives_room
        with self._having(ctx.uid, ctx.gid, groups, capabilities):
            return operation()

    @contextmanager
    def paying(self, uid: int, without: int = 0) -> Iterator[None]:
        """Let this thread take up room as this user, whose groups and capabilities are not looked at."""
        if self.uid != 0 or uid == self.uid:
            yield
            return
        with self._having(uid, self.gid, self.groups, self._capabilities & ~without):
            yield

    @contextmanager
    def of(self, ctx: Context) -> Iterator[None]:
        """Let this thread act with the caller's rights; other threads keep theirs."""
        if self.uid != 0 or (ctx.uid, ctx.gid) == (self.uid, self.gid):
            yield
            return
        groups, capabilities = standing(ctx.pid)
        if ctx.uid == 0:  # of root that cannot be seen, the kernel has checked what it may do
            capabilities = capabilities or self._capabilities
        with self._having(ctx.uid, ctx.gid, groups, capabilities):
            yield

    @contextmanager
    def _having(self, uid: int, gid: int, groups: list[int], capabilities: int) -> Iterator[None]:
        try:
            # A change of the filesystem user id changes capabilities too (capabilities(7)): they come last.
            kernel.become(uid, gid, groups)
            kernel.set_capabilities(capabilities)
            yield
        finally:
            self._return()

    def _return(self) -> None:
        try:
            # First, because to take back the groups takes CAP_SETGID.
            kernel.set_capabilities(self._capabilities)
            kernel.become(self.uid, self.gid, self.groups)
        except OSError:
            os.abort()  # this thread would go on with somebody else's rights

    def rights(self, ctx: Context) -> Rights | None:
        """The caller's rights, for threads that act for it on their own; None where they are the server's.

        Raises:
            PermissionError: the caller is another user, whose rights this server cannot take on.
        """
        if self.uid == 0:
            return Rights(ctx.uid, ctx.gid, *standing(ctx.pid))
        if ctx.uid not in (0, self.uid):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return None


def assume(rights: Rights | None) -> None:
    """Let this thread have these rights and no others, for the rest of its life."""
    if rights:
        # A change of the filesystem user id changes capabilities too (capabilities(7)), so they come last.
        kernel.become(rights.uid, rights.gid, rights.groups)
        kernel.set_capabilities(rights.capabilities)


def standing(pid: int) -> tuple[list[int], int]:
    """A thread's supplementary groups, and its effective capabilities as a bit mask. Neither where it is gone
    or in a pid namespace we cannot see; no capabilities where they count in a user namespace of its own.

    Raises:
        OSError: EMFILE or ENFILE; nobody is taken for less than he is because we are out of descriptors.
    """
    if not callers.sees_threads():
        return [], 0
    try:
        seen = status(pid)
    except OSError as error:
        if error.errno in OUT_OF_DESCRIPTORS:
            raise
        return [], 0
    return seen.groups, seen.capabilities if seen.capabilities and _is_in_our_namespace(pid) else 0


def _is_in_our_namespace(pid: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")
    except OSError:
        return False
