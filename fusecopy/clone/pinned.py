"""The thread that waits for its ioctl: its descriptors, its memory, its identity.

All three are pinned and then known to be the caller's own, because its notification is still pending; a
number that is given to another process later cannot mislead. Descriptors are taken once and then used, so it
does not matter what other threads of the caller put in their place: the caller could have called with either.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fusecopy.clone._native import lib
from fusecopy.clone.files import CallerFile, taken
from fusecopy.clone.listener import Listener, Notification, NotServed
from fusecopy.observe.status import status

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Identity:
    """Filesystem ids and groups of a thread, and the process it belongs to."""

    process: int
    uid: int
    gid: int
    groups: frozenset[int]

    def acts_as(self, other: "Identity") -> bool:
        return (self.uid, self.gid, self.groups) == (other.uid, other.gid, other.groups)


class PinnedThread:
    """A thread, pinned. Made by `pinned`."""

    def __init__(self, listener: Listener, call: Notification, pidfd: int, identity: Identity) -> None:
        self.thread = call.thread
        self.pidfd = pidfd
        self._listener = listener
        self._call = call
        self._identity = identity

    @contextmanager
    def file(self, number: int) -> Iterator[CallerFile]:
        """The open file that the caller has under a number, shared with it (pidfd_getfd(2)).

        Raises:
            OSError: EBADF where it has none, or one by O_PATH, with which no ioctl works.
            NotServed: we have not the rights of ptrace(2) over it.
        """
        file = taken(self.pidfd, number)
        try:
            if file.flags & os.O_PATH:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            yield file
        finally:
            os.close(file.fd)

    def read(self, address: int, size: int) -> bytearray:
        """Bytes of the caller's memory. EFAULT where it has none there."""
        data = bytearray(size)
        self._move(os.preadv, data, address)
        return data

    def write(self, address: int, data: Buffer) -> None:
        """Change the caller's memory. EFAULT where it has none there."""
        self._move(os.pwritev, data, address)

    def _move(self, call: Callable[[int, list[Buffer], int], int], data: Buffer, address: int) -> None:
        try:
            memory = os.open(f"/proc/{self.thread}/mem", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            raise NotServed from None
        try:
            if not self._listener.valid(self._call):
                raise NotServed
            moved = call(memory, [data], address)
        except (OSError, OverflowError):  # EIO; and addresses of 2^63 and above are no offsets
            moved = -1
        finally:
            os.close(memory)
        if moved != len(data):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let this thread act with the caller's filesystem ids: servers and backings decide by them.

        Raises:
            NotServed: they are others than ours and we may not take them.
        """
        if self._identity.acts_as(OURS):
            yield
            return
        if _become(self._identity) < 0:
            _become(OURS)
            raise NotServed
        try:
            yield
        finally:
            if _become(OURS) < 0:
                os.abort()  # this thread would go on with somebody else's rights


@contextmanager
def pinned(listener: Listener, call: Notification) -> Iterator[PinnedThread]:
    """The caller of a notification.

    Raises:
        NotServed: it is gone, or we have not the rights of ptrace(2) over it.
    """
    try:
        identity = _identity(call.thread)
    except OSError:
        raise NotServed from None
    pidfd: int = lib.fusecopy_pidfd(call.thread, identity.process)
    if pidfd < 0:
        raise NotServed
    try:
        if not listener.valid(call):
            raise NotServed
        yield PinnedThread(listener, call, pidfd, identity)
    finally:
        os.close(pidfd)


def _identity(thread: int) -> Identity:
    seen = status(thread)
    return Identity(seen.process, seen.uid, seen.gid, frozenset(seen.groups))


def _become(identity: Identity) -> int:
    result: int = lib.fusecopy_become(identity.uid, identity.gid, list(identity.groups), len(identity.groups))
    return result


OURS = Identity(os.getpid(), os.geteuid(), os.getegid(), frozenset(os.getgroups()))
