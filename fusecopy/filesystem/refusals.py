"""FICLONE and its like, which the kernel refuses on FUSE before it asks the server: inferred of what a
program leaves behind, or seen by tracepoints where that is wanted (root, tracefs).

Plain cp asks by FICLONE first, is refused, and copies in another way: that copy has its record. So a refused
clone is told when its destination is closed, and only where nothing came into that meanwhile.
"""

import errno
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from fusecopy.copying.calls import FileId
from fusecopy.dispatch.records import INFERRED, SEEN
from fusecopy.filesystem.identity import caller as caller_of
from fusecopy.filesystem.identity import identify
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.native import drivers
from fusecopy.native.drivers import Named
from fusecopy.native.inodes import Inode
from fusecopy.observe.caller import Caller
from fusecopy.observe.ioctls import Refused, RefusedIoctls
from fusecopy.reporting.kernelrefusals import (
    COPIES,
    RefusedByKernel,
    asks_for_reflink,
    words,
)
from fusecopy.reporting.reports import Reporter
from fusecopy.reporting.undispatched import Undispatched

log = logging.getLogger(__name__)

KEPT = 256
"""Refused clones whose destinations are still open."""

CLOSED = 64
"""Files that were read: a source is closed after its destination, but we may be told of it before."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A refused clone.

    Attributes:
        caller: who asked.
        file: the destination; None where it was closed before it could be looked at.
        source: likewise.
    """

    refused: Refused
    caller: Caller
    file: Named | None
    source: Named | None


class _Read(NamedTuple):
    """A file that a thread had opened to read.

    Attributes:
        opened_ns, closed_ns: CLOCK_MONOTONIC; when we were told of its close.
        size: in bytes.
    """

    thread: int
    opened_ns: int
    closed_ns: int
    inode: Inode
    size: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """A file that was asked of, by its inode alone."""

    inode: Inode

    @property
    def file(self) -> FileId:
        return FileId(self.inode.device, self.inode.ino, 0)

    def path(self) -> bytes:
        return self.inode.path()


class Refusals:
    """What the kernel has refused in this mount. Methods may run in any thread."""

    def __init__(
        self, files: OpenFiles, inodes: InodeTable, reporter: Reporter, undispatched: Undispatched
    ) -> None:
        self._files = files
        self._inodes = inodes
        self._reporter = reporter
        self._undispatched = undispatched
        self._lock = threading.Lock()
        self._seen: deque[_Seen] = deque(maxlen=KEPT)
        self._closed: deque[_Read] = deque(maxlen=CLOSED)
        self._ioctls = RefusedIoctls(self._tell)

    def start(self) -> None:
        """See by tracepoints from now on; the mount's st_dev must be known. Without it refusals are inferred.

        Raises:
            TracingError: this takes root and tracefs.
        """
        self._ioctls.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ioctls.stop()

    def released(self, file: OpenFile) -> None:
        """An open file is closed: tell of a clone into it that was refused, if nothing else came into it."""
        flows = file.flows
        if not file.writable:
            with self._lock:
                self._closed.append(_read(file))
            return
        if flows.asked or flows.offloaded or flows.declined or file.native.is_written:
            return
        if self._ioctls.sees:
            self._ioctls.drain()
            if seen := self._take(file):
                self._report_seen(seen, file)
        elif not file.size() and (reflinker := _reflinker(file)):
            self._infer(file, reflinker)

    # ---- what was seen -------------------------------------------------------------------------------

    def _tell(self, refused: Refused) -> None:
        file = self._behind(refused, refused.descriptor)
        if file and file.device != self._undispatched.device:
            return
        if refused.asked in COPIES:
            source = None if refused.source is None else self._behind(refused, refused.source)
            with self._lock:
                self._seen.append(_Seen(refused, identify(refused.thread), file, source))
        elif number := file.ino if file else self._only(refused.thread):
            with self._reporter.counting_loss(), suppress(OSError):
                self._report_asked(refused, self._inodes.get(number), file)

    def _behind(self, refused: Refused, descriptor: int) -> Named | None:
        """The file of a descriptor. The call is over: the number may be another file's, opened since."""
        found = drivers.behind(refused.thread, descriptor)
        if found is None or found.device != self._undispatched.device:
            return found
        handles = (file.opened_ns for file in self._files.all() if file.inode.number == found.ino)
        return found if min(handles, default=refused.ended_ns) < refused.ended_ns else None

    def _only(self, thread: int) -> int:
        """The one file that a thread has opened and not closed; 0 where there is not just one."""
        numbers = {file.inode.number for file in self._files.all() if file.thread == thread}
        return numbers.pop() if len(numbers) == 1 else 0

    def _report_asked(self, refused: Refused, inode: Inode, file: Named | None) -> None:
        """Of FIEMAP, and of FIDEDUPERANGE's source."""
        cause, remedy = words(refused.asked, refused.errno, SEEN)
        told = RefusedByKernel(
            identify(refused.thread),
            refused.asked,
            inode.path(),
            file.size if file else 0,
            refused.name,
            cause,
            remedy,
            "call" if file else "process",
            SEEN,
            refused.begun_ns,
            refused.ended_ns,
        )
        self._reporter.refused(told, _Asked(inode))

    def _take(self, file: OpenFile) -> _Seen | None:
        """The refused clone into an open file. Of one whose destination could not be looked at in time it is
        the one into the file that its thread had opened last."""
        with self._lock:
            found = next((seen for seen in self._seen if self._is_into(seen, file)), None)
            if found:
                self._seen.remove(found)
        return found

    def _is_into(self, seen: _Seen, file: OpenFile) -> bool:
        refused = seen.refused
        if refused.ended_ns < file.opened_ns:
            return False
        if seen.file:
            return seen.file.ino == file.inode.number
        return refused.thread == file.thread and not any(
            other.thread == file.thread
            and other.writable
            and file.opened_ns < other.opened_ns < refused.ended_ns
            for other in self._files.all()
        )

    def _read_by(self, thread: int, moment: int) -> _Read | None:
        """Of the files that a thread had open to read at a moment, as far as we know, what it opened last."""
        with self._lock:
            closed = list(self._closed)
        is_open = (_read(file) for file in self._files.all() if not file.writable)
        mine = [
            read
            for read in (*closed, *is_open)
            if read.thread == thread and read.opened_ns < moment < read.closed_ns
        ]
        return max(mine, key=lambda read: read.opened_ns, default=None)

    def _report_seen(self, seen: _Seen, file: OpenFile) -> None:
        before = seen.file.size if seen.file else 0
        if file.size() != before:
            return  # a hole was made of a hole
        source, length = self._source(seen)
        if not length and not _reflinker(file):
            return  # of an empty file, or of one unknown, there may have been nothing more to copy
        refused = seen.refused
        cause, remedy = words(refused.asked, refused.errno, SEEN)
        caller = seen.caller if seen.caller.comm != "?" else _reflinker(file) or seen.caller
        told = RefusedByKernel(
            caller,
            refused.asked,
            source,
            length,
            refused.name,
            cause,
            remedy,
            "call" if seen.file else "process",
            SEEN,
            refused.begun_ns,
            refused.ended_ns,
        )
        self._reporter.refused(told, file)

    def _source(self, seen: _Seen) -> tuple[bytes, int]:
        """Path and size of the source, as far as they are known."""
        if named := seen.source:
            if named.device != self._undispatched.device:
                return named.path, named.size
            with suppress(OSError):
                return self._inodes.get(named.ino).path(), named.size
        refused = seen.refused
        source = self._read_by(refused.thread, refused.ended_ns)
        return (source.inode.path(), source.size) if source else (b"", 0)

    # ---- what is inferred ----------------------------------------------------------------------------

    def _infer(self, file: OpenFile, caller: Caller) -> None:
        source = self._read_by(file.thread, file.opened_ns)
        if source is None or not source.size:
            return  # no source in the mount, or nothing to copy
        now = time.monotonic_ns()
        cause, remedy = words("FICLONE", errno.EOPNOTSUPP, INFERRED)
        told = RefusedByKernel(
            caller,
            "FICLONE",
            source.inode.path(),
            source.size,
            "EOPNOTSUPP",
            cause,
            remedy,
            "process",
            INFERRED,
            file.opened_ns,
            now,
        )
        self._reporter.refused(told, file)


def _read(file: OpenFile) -> _Read:
    return _Read(file.thread, file.opened_ns, time.monotonic_ns(), file.inode, max(file.told_size(), 0))


def _reflinker(file: OpenFile) -> Caller | None:
    """Who opened it to write, where the command line asks for a reflink or nothing."""
    asker = file.native.asker
    return caller_of(asker[0]) if asker and asks_for_reflink(asker[1]) else None
