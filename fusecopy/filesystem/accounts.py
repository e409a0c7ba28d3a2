"""Settles an open file's accounts when it is released: every flow into it becomes a record."""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fusecopy.filesystem.identity import identify
from fusecopy.filesystem.inodes import InodeTable
from fusecopy.filesystem.openfiles import BLOCK, OpenFile, OpenFiles, Readers
from fusecopy.filesystem.refusals import Refusals
from fusecopy.native import drivers, opening
from fusecopy.native.drivers import Driver, Named
from fusecopy.native.files import WRITEBACK, Client, Moved, note_source
from fusecopy.reporting.flows import Declined, MountFile, Side, by_process
from fusecopy.reporting.pairing import Pair, Reading, Readings, Writing, called, shown, unseen
from fusecopy.reporting.reports import Reporter
from fusecopy.reporting.undispatched import Undispatched

UNSEEN_DRIVERS = (
    "Drivers of flows stay unknown where /proc/PID/syscall may not be read: that takes root, or"
    " the program's own user and a kernel.yama.ptrace_scope below 2."
)


class Accounts:
    """Who moved what through the open files, reported once it is over. Methods may run in any thread."""

    def __init__(
        self,
        files: OpenFiles,
        inodes: InodeTable,
        reporter: Reporter,
        undispatched: Undispatched,
        refusals: Refusals,
    ) -> None:
        self._files = files
        self._inodes = inodes
        self._reporter = reporter
        self._undispatched = undispatched
        self._refusals = refusals
        self._readings = Readings()
        self._readers = Readers()
        self._said_hidden = False
        # A file's reads are found either among the open files or among the closed ones, at every moment.
        self._lock = threading.Lock()

    def look(self, fh: int, thread: int, uid: int, writes: bool) -> None:
        """Note who reads or writes and in which system call, while the kernel holds the thread in it.

        Mapped pages are written by the kernel, which does not say for whom: for whoever opened the file. A
        thread that this pid namespace does not see has the number 0.
        """
        file = self._files.get(fh)
        flows = file.flows
        if thread == WRITEBACK:
            flows.callers.setdefault(thread, identify(file.thread))
            flows.drivers.setdefault(thread, [(0, Driver("mmap"))])
        elif thread > 0:
            if thread not in flows.callers:
                flows.callers[thread] = identify(thread, uid)
            if writes:
                driver = drivers.look(thread)
                flows.drivers.setdefault(thread, []).append((file.native.written_by(thread), driver))
                self._note_source(file, driver)
                self._say_hidden(driver)
            else:
                with self._lock:
                    self._readers.add(file, flows.callers[thread])

    def _note_source(self, file: OpenFile, driver: Driver) -> None:
        """Of a source in this mount, which file it is: by the time that it is told it may be gone."""
        if driver.source and driver.source.device == self._undispatched.device:
            with suppress(OSError):
                source = file.flows.sources[driver.source.ino] = self._inodes.get(driver.source.ino)
                note_source(source.device, source.ino, source.number)

    def _say_hidden(self, driver: Driver) -> None:
        if driver.hidden and not self._said_hidden:
            self._said_hidden = True
            self._reporter.note(UNSEEN_DRIVERS)

    def declined(self, source: OpenFile, file: OpenFile, thread: int, copy: Declined) -> None:
        """Remember a copy into `file`; what the kernel then moves becomes its record when it is over."""
        earlier = file.flows.declined.get(thread)
        if earlier and earlier.takes_in(copy):
            return
        with self._reporter.counting_loss():
            self._settle_thread(file, thread)
            self._begin_reading(source, thread, copy)
        file.flows.declined[thread] = copy

    def _begin_reading(self, source: OpenFile, thread: int, copy: Declined) -> None:
        """What a thread has read of a source before is another copy's, or may be paired with writes."""
        self._end_reading(source, thread)
        earlier = [client for client in source.native.clients() if client.pid == thread]
        with self._lock:
            self._readings.closed(_readings(source, earlier))
        source.native.take_read(thread)
        source.flows.read_for[thread] = copy
        copy.end_reading = lambda: self._end_reading(source, thread, copy)

    def _end_reading(self, source: OpenFile, thread: int, copy: Declined | None = None) -> None:
        """Count what a thread has read for the copy that it reads for, which is `copy` if that is given."""
        reading = source.flows.read_for.get(thread)
        if reading and copy in (reading, None):
            del source.flows.read_for[thread]
            reading.read = source.native.take_read(thread)

    def take_out(self, fh: int) -> OpenFile:
        """Take a released file out of the open ones; what was read of it may still be paired later."""
        with self._lock:
            file = self._files.remove(fh)
            self._readers.remove(file)
            with self._reporter.counting_loss():
                self._readings.closed(_readings(file))
        return file

    def settle(self, file: OpenFile) -> None:
        """Report what went into a file that was taken out and not reported yet, or what did not."""
        with self._reporter.counting_loss():
            self._refusals.released(file)
        if file.flows.pending:
            with self._reporter.counting_loss():
                self._reporter.carried(file.flows.pending, file)
        for thread in list(file.flows.declined):
            with self._reporter.counting_loss():
                self._settle_thread(file, thread)
        clients = [client for client in file.native.clients() if client.written.requests]
        with self._reporter.counting_loss(len(clients)):
            self._settle_clients(file, clients)

    def crowded(self, fh: int) -> None:
        """Report what threads have moved through an open file whose processes are gone: of a build's log,
        which all of its processes write, there would be ever more."""
        file = self._files.get(fh)
        with self._reporter.counting_loss():
            gone = [client for client in file.native.clients() if self._is_gone(file, client)]
            with self._lock:
                self._readings.closed(_readings(file, [client for client in gone if client.read.requests]))
            self._settle_clients(file, [client for client in gone if client.written.requests])
            for client in gone:
                file.native.forget(client.pid)
                file.flows.forget(client.pid)

    def settle_all(self) -> None:
        """Settle what is still open when no more requests will come (the connection was ended by force)."""
        for file in self._files.all():
            self.settle(self.take_out(file.fh))

    def _is_gone(self, file: OpenFile, client: Client) -> bool:
        process = file.flows.caller(client.pid).pid
        return process > 0 and client.pid not in file.flows.declined and not _exists(process)

    def _settle_thread(self, file: OpenFile, thread: int) -> None:
        """Report what one thread has written since it was last asked about."""
        declined = file.flows.declined.pop(thread, None)
        if declined is None:
            clients = [client for client in file.native.clients() if client.pid == thread]
            self._settle_clients(file, clients)
            return
        written = file.native.take_written(thread)
        file.flows.drivers.pop(thread, None)
        declined.end_reading()
        self._reporter.fallback(declined, file, written, file.unseen)

    def _settle_clients(self, file: OpenFile, clients: list[Client]) -> None:
        """Report what these threads have written, process by process."""
        size = file.size()
        sides = []
        for client in clients:
            moved = file.native.take_written(client.pid)
            drove = file.flows.drove(client.pid, moved.bytes)
            file.flows.drivers.pop(client.pid, None)
            if moved.requests:
                sides.append(Side(file.flows.caller(client.pid, client.uid), moved, size, drove))
        for side in by_process(sides):
            with self._reporter.counting_loss():
                self._settle_writes(file, side)

    def _settle_writes(self, file: OpenFile, side: Side) -> None:
        pair = None
        with suppress(OSError), _opened(file.fd) as descriptor:
            pair = self._pair(file, Writing(side, file.inode, descriptor))
        if pair:
            self._reporter.moved(pair, side, file)
        else:
            self._reporter.flow(side, file)

    def _pair(self, file: OpenFile, writing: Writing) -> Pair | None:
        """The source that these writes came from, if there is evidence of one."""
        if not writing.side.moved.bytes:
            return None
        if named := writing.side.driver.source:
            return self._named(named, file.flows.sources.get(named.ino), writing)
        if file.flows.offloaded:
            return None
        with self._lock:
            candidates = self._readings.candidates(writing, self._open_near(writing.side))
        for reading, by in candidates:
            if found := shown(reading, writing, self._open):
                with self._lock:
                    reads = self._readings.tell(reading)
                span, evidence = found
                return Pair(reading.path, None, reads, reading.sparse, by, evidence, span)
        return None

    def _named(self, named: Named, file: MountFile | None, writing: Writing) -> Pair | None:
        """The same where the system call named its source, which is `file` where it is in this mount."""
        if named.device != self._undispatched.device:
            # Read from another mount: nothing of it came through this server.
            if found := unseen(named, writing):
                return Pair(named.path, named.device, Moved(), False, "call", found[1], found[0])
            return None
        if file is None:
            return None
        side = writing.side
        with self._lock:
            reading = self._readings.of(file, side.caller.pid, self._open_near(side))
            reads = self._readings.tell(reading) if reading else Moved()
        try:
            with self._open(file) as source:
                found = called(source, reading.side.moved if reading else reads, writing)
        except OSError:
            found = unseen(named, writing)
        if found is None:
            return None
        by = "process" if reading else "call"
        return Pair(file.path(), None, reads, bool(reading and reading.sparse), by, found[1], found[0])

    def _open_near(self, side: Side) -> list[Reading]:
        return [reading for file in self._readers.near(side.caller, side.size) for reading in _readings(file)]

    @contextmanager
    def _open(self, file: MountFile) -> Iterator[int]:
        """A file of the mount, opened for reading; ESTALE where the kernel has forgotten it."""
        with self._inodes.borrow(file.number) as descriptor, _opened(descriptor) as opened:
            if self._inodes.get(file.number) != file:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            yield opened


@contextmanager
def _opened(descriptor: int) -> Iterator[int]:
    """The same file, opened for reading, without a trace of it in its access time where that may be."""
    opened = opening.regular(descriptor, os.O_RDONLY | os.O_NOATIME)
    try:
        yield opened
    finally:
        os.close(opened)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _readings(file: OpenFile, clients: list[Client] | None = None) -> Iterator[Reading]:
    found = file.native.clients() if clients is None else clients
    readers = [client for client in found if client.read.bytes]
    if readers:
        room, path = file.room(), file.inode.path()
        sides = [Side(file.flows.caller(c.pid, c.uid), c.read, room.size) for c in readers]
        sparse = room.blocks * BLOCK < room.size
        only_read = fcntl.fcntl(file.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        yield from (Reading(file.inode, path, sparse, only_read, side) for side in by_process(sides))
