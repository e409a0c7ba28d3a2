"""The thread that waits for its ioctl: its descriptors, its memory, its identity.

All three are pinned at the beginning and then known to be the caller's own, because its notification is still
pending; a number that is given to another process later cannot mislead. Descriptors are taken once and then
used, so it does not matter what other threads of the caller put in their place: the caller could have called
with either.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fusecopy.clone._native import ffi, lib
from fusecopy.clone.listener import Call, Listener, NotServed

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Identity:
    """Filesystem ids and groups of a thread, and the process it belongs to."""

    process: int
    uid: int
    gid: int
    groups: tuple[int, ...]


class Caller:
    """A thread, pinned. Made by `pinned`."""

    def __init__(self, thread: int, pidfd: int, memory: int, identity: Identity) -> None:
        self.thread = thread
        self.pidfd = pidfd
        self._memory = memory
        self._identity = identity

    @contextmanager
    def descriptor(self, number: int) -> Iterator[int]:
        """The open file that the caller has under a number, shared with it (pidfd_getfd(2)).

        Raises:
            OSError: EBADF where it has none, or one by O_PATH, with which no ioctl works.
            NotServed: we have not the rights of ptrace(2) over it.
        """
        fd: int = lib.fusecopy_pidfd_getfd(self.pidfd, ffi.cast("int", number))
        if fd < 0 and fd != -errno.EBADF:
            raise NotServed
        try:
            if fd < 0 or fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            yield fd
        finally:
            if fd >= 0:
                os.close(fd)

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
            moved = call(self._memory, [data], address)
        except (OSError, OverflowError):  # EIO; and addresses of 2^63 and above are no offsets
            moved = -1
        if moved != len(data):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Let this thread act with the caller's filesystem ids: servers and backings decide by them.

        Raises:
            NotServed: they are others than ours and we may not take them.
        """
        ours = _own_identity()
        theirs = self._identity
        if (ours.uid, ours.gid, set(ours.groups)) == (theirs.uid, theirs.gid, set(theirs.groups)):
            yield
            return
        if lib.fusecopy_become(theirs.uid, theirs.gid, theirs.groups, len(theirs.groups)) < 0:
            lib.fusecopy_become(ours.uid, ours.gid, ours.groups, len(ours.groups))
            raise NotServed
        try:
            yield
        finally:
            _check(lib.fusecopy_become(ours.uid, ours.gid, ours.groups, len(ours.groups)))


@contextmanager
def pinned(listener: Listener, call: Call) -> Iterator[Caller]:
    """The caller of a notification.

    Raises:
        NotServed: it is gone, or we have not the rights of ptrace(2) over it.
    """
    with ExitStack() as stack:
        try:
            identity = _identity(call.thread)
            pidfd = _check(lib.fusecopy_pidfd(call.thread, identity.process))
            stack.callback(os.close, pidfd)
            memory = os.open(f"/proc/{call.thread}/mem", os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, memory)
        except OSError:
            raise NotServed from None
        if not listener.valid(call):
            raise NotServed
        yield Caller(call.thread, pidfd, memory, identity)


def _identity(thread: int) -> Identity:
    fields: dict[bytes, list[int]] = {}
    with open(f"/proc/{thread}/status", "rb") as status:
        for line in status:
            name, _, rest = line.partition(b":")
            if name in (b"Tgid", b"Uid", b"Gid", b"Groups"):
                fields[name] = [int(word) for word in rest.split()]
    # Real, effective, saved and filesystem id.
    return Identity(fields[b"Tgid"][0], fields[b"Uid"][3], fields[b"Gid"][3], tuple(fields[b"Groups"]))


def _own_identity() -> Identity:
    return Identity(os.getpid(), os.geteuid(), os.getegid(), tuple(os.getgroups()))


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
