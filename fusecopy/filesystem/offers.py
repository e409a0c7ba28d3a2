"""What a thread has offered to be cloned, until it uses it (fusecopy.ioctls)."""

import errno
import os
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Generic, TypeVar

from fusecopy.ioctls import SECRET_BYTES

T = TypeVar("T")

OFFERED_SECONDS = 10.0
"""Who offers clones next; what is older was left behind by a thread that was killed."""


@dataclass(frozen=True, slots=True)
class _Offered(Generic[T]):
    """What was offered, and its secret, which nobody can guess.

    The secret matters although the thread's number is compared too: the number of a dead thread comes again.
    """

    what: T
    secret: bytes
    until: float


class Offers(Generic[T]):
    """At most one offer of each thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_thread: dict[int, _Offered[T]] = {}

    def make(self, what: T, thread: int) -> bytes:
        """Remember an offer, drop those that have become too old, and return the secret.

        Raises:
            OSError: ENOTTY, as if there were no such ioctl and with it the kernel's own answer to the
                program, where the thread has no number in this pid namespace.
        """
        if not thread:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        now = time.monotonic()
        made = _Offered(what, secrets.token_bytes(SECRET_BYTES), now + OFFERED_SECONDS)
        with self._lock:
            if any(other.until <= now for other in self._by_thread.values()):
                self._by_thread = {key: other for key, other in self._by_thread.items() if other.until > now}
            self._by_thread[thread] = made
        return made.secret

    def take(self, secret: bytes, thread: int) -> T:
        """The thread's offer, once. EPERM where it has made none, or another, or long ago."""
        with self._lock:
            made = self._by_thread.pop(thread, None)
        if made is None or made.until <= time.monotonic() or not secrets.compare_digest(made.secret, secret):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return made.what
