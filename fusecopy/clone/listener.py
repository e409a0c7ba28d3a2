"""The filter and its notifications: what seccomp_unotify(2) describes."""

import os
import select
from dataclasses import dataclass

from fusecopy.clone._native import ffi, lib

_INT = 0xFFFFFFFF
"""The kernel takes the low half of an argument that is an int."""


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that a thread waits for.

    Attributes:
        id: of the notification.
        thread: who calls, as a number of our pid namespace.
        number: of the system call; of an ioctl that of its own architecture.
        given: its arguments.
    """

    id: int
    thread: int
    number: int
    given: tuple[int, ...]

    @property
    def fd(self) -> int:
        """Of an ioctl: the descriptor's number there."""
        return self.given[0] & _INT

    @property
    def command(self) -> int:
        """Of an ioctl: one of the four."""
        return self.given[1] & _INT

    @property
    def argument(self) -> int:
        """Of an ioctl: an address there, or for FICLONE a descriptor's number."""
        return self.given[2]


class NotServed(Exception):  # noqa: N818 (no error: the kernel has the right answer)
    """The kernel's own answer is the right one."""


def notification_bytes() -> int:
    """The size of a notification. Asking installs nothing. Raises OSError where no call can be served."""
    size: int = lib.fusecopy_notification_bytes()
    if size < 0:
        raise OSError(-size, os.strerror(-size))
    return size


class Listener:
    """The supervisor's end. Any number of threads may use it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def receive(self) -> Notification | None:
        """The next call; waits for it. None when nobody is left to make one."""
        call = ffi.new("struct fusecopy_call *")
        while True:
            result: int = lib.fusecopy_receive(self._fd, call)
            if result == 0:
                return Notification(call.id, call.thread, call.number, tuple(call.given))
            if self._abandoned():
                return None

    def valid(self, call: Notification) -> bool:
        """Whether its thread still waits; what was opened of it by its number before is then its own."""
        return bool(lib.fusecopy_valid(self._fd, call.id) == 0)

    def refuse(self, call: Notification, code: int) -> None:
        """Let the call return -1 with this errno. To a thread that was killed nothing is said."""
        lib.fusecopy_refuse(self._fd, call.id, code)

    def answer(self, call: Notification, count: int) -> None:
        """Let the call return this."""
        lib.fusecopy_answer(self._fd, call.id, count)

    def leave_to_kernel(self, call: Notification) -> None:
        """Let the kernel carry it out, with all its checks."""
        lib.fusecopy_continue(self._fd, call.id)

    def _abandoned(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, 0)
        return any(events & select.POLLHUP for _, events in poll.poll(0))
