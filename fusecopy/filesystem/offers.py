"""Sources that a thread has offered to be cloned, until it uses them (fusecopy.ioctls)."""

import errno
import os
import secrets
import threading
import time
from dataclasses import dataclass

from fusecopy.filesystem.openfiles import OpenFile
from fusecopy.ioctls import SECRET_BYTES, Offer

OFFERED_SECONDS = 10.0
"""Who offers clones next; what is older was left behind by a thread that was killed."""


@dataclass(frozen=True, slots=True)
class Offered:
    """An offer, the open file it was made on, and its secret, which nobody can guess.

    The secret matters although the thread's number is compared too: the number of a dead thread comes again.
    """

    source: OpenFile
    offer: Offer
    secret: bytes
    until: float


class Offers:
    """At most one offer of each thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_thread: dict[int, Offered] = {}

    def make(self, source: OpenFile, offer: Offer, thread: int) -> bytes:
        """Remember an offer, drop those that have become too old, and return the secret.

        Raises:
            OSError: ENOTTY, as if there were no such ioctl and with it the kernel's own answer to the
                program, where the thread has no number in this pid namespace.
        """
        if not thread:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        now = time.monotonic()
        made = Offered(source, offer, secrets.token_bytes(SECRET_BYTES), now + OFFERED_SECONDS)
        with self._lock:
            if any(other.until <= now for other in self._by_thread.values()):
                self._by_thread = {key: other for key, other in self._by_thread.items() if other.until > now}
            self._by_thread[thread] = made
        return made.secret

    def take(self, secret: bytes, thread: int) -> Offered:
        """The thread's offer, once. EPERM where it has made none, or another, or long ago."""
        with self._lock:
            made = self._by_thread.pop(thread, None)
        if made is None or made.until <= time.monotonic() or not secrets.compare_digest(made.secret, secret):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        return made
