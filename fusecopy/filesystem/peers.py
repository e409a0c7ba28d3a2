"""Open files handed from one server to another, for clones between two mounts of fusecopy.

Every server listens on an abstract unix socket of a random name, which its tokens carry. Another server asks
there for what a thread has offered, by the token, and gets the backing's descriptor (SCM_RIGHTS), which has
the access mode of the open file that was offered.

Who has the token has the open file, and who passes a descriptor on has it: neither server gives away what the
other could misuse, as long as both are the same user's. So both have the kernel say who the other is
(SO_PEERCRED), and hang up on anybody else, and on whom they cannot see: in another pid namespace the thread's
number means another thread. In another network namespace the socket is not found at all.
"""

import errno
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from fusecopy.ioctls import OFFER_BYTES, SECRET_BYTES, SERVER_BYTES, Offer

PREFIX = b"\0fusecopy-"

SECONDS = 1
"""How long one waits for the other. No disk is asked meanwhile."""

PENDING = 128
"""Servers that may wait to be answered."""

_TIMEOUT = struct.pack("@ll", SECONDS, 0)
_CREDENTIALS = struct.Struct("@iII")
_REQUEST = struct.Struct(f"={SECRET_BYTES}s q")
_ANSWER_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class OfferedSource:
    """What is to be cloned.

    Attributes:
        fd: the backing's file, with the access mode of the program's own.
        offer: the range.
        path: for the log; absolute where the file is on another mount.
    """

    fd: int
    offer: Offer
    path: bytes


class Door:
    """Where other servers ask. A context manager, within which they are answered.

    Args:
        take: what a thread has offered with a secret, while it is open; OSError where that is nothing.
    """

    def __init__(self, take: Callable[[bytes, int], AbstractContextManager[OfferedSource]]) -> None:
        self.name = secrets.token_bytes(SERVER_BYTES)
        self._take = take
        self._ended = threading.Event()
        self._socket = _socket()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> None:
        self._socket.bind(PREFIX + self.name)
        self._socket.listen(PENDING)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(2), which close(2) does not
        self._thread.join()
        self._socket.close()

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                self._ended.wait(SECONDS)  # no descriptor is free, unless it is the end
                continue
            with connection, suppress(OSError, struct.error):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        """Hand out what is asked for with the right token; anybody else is hung up on."""
        _bound(connection)
        _check_peer(connection)
        secret, thread = _REQUEST.unpack(connection.recv(_REQUEST.size + 1))
        with self._take(secret, thread) as source:
            socket.send_fds(connection, [source.offer.pack() + source.path], [source.fd])


@contextmanager
def fetched(server: bytes, secret: bytes, thread: int) -> Iterator[OfferedSource]:
    """What a thread has offered to another server. Blocks for a few SECONDS at most.

    Raises:
        OSError: EXDEV where that server does not hand it out, because so the kernel has it of two mounts.
    """
    try:
        data, fds = _ask(server, _REQUEST.pack(secret, thread))
    except OSError:
        raise _not_shared() from None
    try:
        yield _source(data, fds)
    finally:
        for fd in fds:
            os.close(fd)


def _ask(server: bytes, request: bytes) -> tuple[bytes, list[int]]:
    with _socket() as connection:
        _bound(connection)
        connection.connect(PREFIX + server)
        _check_peer(connection)
        connection.send(request)
        data, fds, _, _ = socket.recv_fds(connection, _ANSWER_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
    return data, fds


def _source(data: bytes, fds: list[int]) -> OfferedSource:
    try:
        (fd,) = fds
        return OfferedSource(fd, Offer.unpack(data[:OFFER_BYTES]), data[OFFER_BYTES:])
    except (ValueError, struct.error):
        raise _not_shared() from None


def _not_shared() -> OSError:
    return OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _bound(connection: socket.socket) -> None:
    """Let it wait no longer than SECONDS. Python's own timeout would have connect(2) not wait at all where
    others wait already."""
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connection.setsockopt(socket.SOL_SOCKET, option, _TIMEOUT)


def _check_peer(connection: socket.socket) -> None:
    """EPERM for whoever is not this server's user, or has no number in its pid namespace."""
    answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(answer)
    if not pid or uid != os.geteuid():
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
