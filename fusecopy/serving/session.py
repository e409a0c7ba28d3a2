"""One mounted session: pyfuse3's init, main and close, and the request loop beside them.

Requests are received and answered on the loop's own threads (libfuse/loop.c); pyfuse3's loop, on trio's
thread, gets INIT and DESTROY only. pyfuse3 has one session a process, and so have we.
"""

import logging
import os
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pyfuse3
import trio

from fusecopy.errors import FuseUnavailableError, MountRefusedError
from fusecopy.native import deferred
from fusecopy.native._native import ffi, lib
from fusecopy.serving import handlers
from fusecopy.serving.answers import Answers
from fusecopy.serving.operations import Operations
from fusecopy.serving.rings import Rings

log = logging.getLogger(__name__)

LOOP_THREADS = 512
"""Requests that the loop serves at the same time. All but one of them may wait for something; how many of a
kind, backlog.c says."""


@dataclass(frozen=True, slots=True)
class Connection:
    """What the kernel and libfuse agreed on; protocol is (0, 0) before the first request.

    Attributes:
        protocol: the kernel's FUSE protocol.
        max_write: bytes of the largest WRITE.
        passthrough: the kernel may be told to read and write files of the backing by itself.
        requests: requests received so far, by opcode.
        lanes: for each operation that was asked for, how many requests were answered natively, and how many
            were left to Python.
    """

    protocol: tuple[int, int]
    max_write: int
    passthrough: bool
    requests: dict[int, int]
    lanes: dict[str, tuple[int, int]]


class _Settings(pyfuse3.Operations):
    """What pyfuse3 is told; of its operations none is asked."""

    supports_dot_lookup = False
    enable_acl = True


class _Session:
    """The running session: its tasks and its threads."""

    def __init__(self, operations: Operations, rings: Rings) -> None:
        self.operations = operations
        self.rings = rings
        self.tasks = Answers(operations).tasks()
        self._lock = threading.Lock()
        self._serving: set[threading.Thread] = set()
        self._said_crowded = False

    @asynccontextmanager
    async def loop(self) -> AsyncIterator[None]:
        """The loop's threads, while the context lasts; its end waits for the requests under way."""
        lib.fusecopy_begin_loop()
        watchdog = threading.Thread(target=lib.fusecopy_watchdog, name="watchdog", daemon=True)
        watchdog.start()
        followers = threading.Thread(target=deferred.follow, args=(self.operations,), name="deferred")
        followers.start()
        self.crowded()
        await self.rings.begin()
        try:
            yield
        finally:
            lib.fusecopy_stop()
            with trio.CancelScope(shield=True):
                for thread in [watchdog, *self._threads()]:
                    await trio.to_thread.run_sync(thread.join)
                await self.rings.ended()
                deferred.end()
                await trio.to_thread.run_sync(followers.join)

    def crowded(self) -> bool:
        """Have one more thread receive requests, up to the limit; where the system gives none, those that
        there are go on. Whether there will be one more."""
        with self._lock:
            if len(self._serving) >= LOOP_THREADS:
                return False
            thread = threading.Thread(target=self._serve, name="requests", daemon=True)
            self._serving.add(thread)
            try:
                thread.start()
            except RuntimeError as error:
                self._serving.discard(thread)
                if not self._said_crowded:
                    log.warning("no further thread for requests: %s", error)
                self._said_crowded = True
                return False
        return True

    def _serve(self) -> None:
        try:
            lib.fusecopy_serve()
        finally:
            with self._lock:
                self._serving.discard(threading.current_thread())

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._serving)


_session: _Session


def mounted_as(device: int) -> None:
    """The st_dev of what is in the mount: a name in the backing that leads there is not followed."""
    lib.fusecopy_get_connection().device = device


def versions() -> dict[str, str]:
    """Versions of pyfuse3 and libfuse, for people."""
    return {"pyfuse3": pyfuse3.__version__, "libfuse": ffi.string(lib.fuse_pkgversion()).decode()}


def init(
    operations: Operations,
    source: str,
    mountpoint: str,
    options: Iterable[str],
    passthrough: bool = False,
    max_read: int = 0,
    native_lane: bool = True,
    processors: int = 0,
) -> None:
    """Mount, as pyfuse3.init does, with our operations added to pyfuse3's.

    Asked for is DONT_MASK, since only the server can tell whether a default ACL takes the umask's place;
    READDIRPLUS_AUTO, by which the kernel asks for attributes with a listing where it is likely to want them;
    and HANDLE_KILLPRIV_V2, without which it asks before every write whether the file has capabilities. Left
    out of what libfuse asks for are HANDLE_KILLPRIV, which does not say for whom to drop setuid bits,
    ATOMIC_O_TRUNC, and splicing from and to /dev/fuse: reads and writes go through one buffer.

    Args:
        source: what the mount table is to say is mounted.
        passthrough: ask for kernel passthrough; `connection` says whether it was granted.
        max_read: bytes of the largest READ, 0 for no limit.
        native_lane: answer natively what may be; without, Python answers everything, as tests want it.
        processors: have requests come by io_uring if the kernel agrees, which `ring_state` says, with a queue
            for each of so many processors: all that there can be. 0 for requests by /dev/fuse only.

    Raises:
        MountRefusedError: the kernel or fusermount3 would not mount; their reason is on stderr.
        FuseUnavailableError: pyfuse3 did not bind to the native layer.
    """
    global _session
    connection = lib.fusecopy_get_connection()
    connection.is_native = native_lane
    connection.denies_others = "allow_root" in options
    connection.owner = os.getuid()
    connection.negative_timeout = operations.negative_timeout
    connection.passthrough = passthrough
    connection.max_read = max_read
    named = ffi.new("char[]", os.fsencode(source))
    connection.source = named
    connection.want = lib.FUSE_CAP_DONT_MASK | lib.FUSE_CAP_READDIRPLUS | lib.FUSE_CAP_READDIRPLUS_AUTO
    connection.refuse = (
        lib.FUSE_CAP_ATOMIC_O_TRUNC
        | lib.FUSE_CAP_HANDLE_KILLPRIV
        | lib.FUSE_CAP_SPLICE_READ
        | lib.FUSE_CAP_SPLICE_WRITE
        | lib.FUSE_CAP_SPLICE_MOVE
    )
    _session = _Session(operations, Rings(mountpoint, processors))
    handlers.dispatch_to(_session)
    limit = {f"max_read={max_read}"} if max_read else set()
    try:
        pyfuse3.init(_Settings(), mountpoint, {*options, *limit})
    except RuntimeError as error:
        raise MountRefusedError(
            f"{mountpoint}: the mount was refused ({error})", "the reason is in the lines above"
        ) from error
    finally:
        connection.source = ffi.cast("char *", 0)
    if not lib.fusecopy_installed():
        pyfuse3.close(unmount=True)
        raise FuseUnavailableError(
            "pyfuse3 does not use fusecopy's libfuse layer: it was built against another libfuse",
            "build pyfuse3 and fusecopy again against the same libfuse (pip install --force-reinstall"
            " --no-binary :all: pyfuse3 fusecopy)",
        )


async def main() -> None:
    """Serve until the file system is unmounted, and until every request under way is answered."""
    async with _session.loop():
        try:
            await pyfuse3.main()
        finally:
            _session.operations.ended()


def close(unmount: bool = True) -> None:
    """Clean up; see pyfuse3.close."""
    pyfuse3.close(unmount=unmount)


def backing_open(fd: int) -> int:
    """Have the kernel know a regular file, so that it may read and write it by itself: what `Opened.backing`
    takes, or a negative errno. Needs CAP_SYS_ADMIN and a connection with passthrough (Linux 6.9)."""
    return int(lib.fusecopy_backing_open(fd))


def backing_close(number: int) -> None:
    """Have it forget the file."""
    lib.fusecopy_backing_close(number)


def connection() -> Connection:
    """What was agreed at INIT."""
    c = lib.fusecopy_get_connection()
    requests = {opcode: int(count) for opcode, count in enumerate(c.requests) if count}
    native = list(c.native)
    rows = {opcode: lib.fusecopy_operation(opcode) for opcode in requests}
    lanes = {
        ffi.string(row.name).decode(): (native[opcode], requests[opcode] - native[opcode])
        for opcode, row in rows.items()
        if row
    }
    return Connection((c.major, c.minor), c.max_write, bool(c.passthrough), requests, lanes)
