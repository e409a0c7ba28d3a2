"""Settles an open file's accounts when it is released: every flow into it becomes a record."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

from fusecopy.filesystem.identity import identify
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles, Readers
from fusecopy.observe.caller import Call, Caller, system_call
from fusecopy.reporting.flows import Declined, Reading, Readings, Side, by_process
from fusecopy.reporting.reports import Reporter
from fusecopy.serving import WRITEBACK, Client

BLOCK = 512
"""The unit of st_blocks, whatever the file system's block size."""


class Accounts:
    """Who moved what through the open files, reported once it is over. Methods may run in any thread."""

    def __init__(self, files: OpenFiles, reporter: Reporter, mountpoint: str) -> None:
        self._files = files
        self._reporter = reporter
        self._root = mountpoint.encode(errors="surrogateescape").rstrip(b"/") + b"/"
        self._readings = Readings()
        self._readers = Readers()
        self._said_hidden = False
        # A file's reads are found either among the open files or among the closed ones, at every moment.
        self._lock = threading.Lock()

    def look(self, fh: int, thread: int, writes: bool) -> None:
        """Note who reads or writes and in which system call, while the kernel holds the thread in it.

        Mapped pages are written by the kernel, which does not say for whom: for whoever opened the file.
        """
        file = self._files.get(fh)
        flows = file.flows
        if thread == WRITEBACK:
            flows.callers.setdefault(thread, identify(file.opener))
            flows.calls.setdefault(thread, [(0, Call("mmap"))])
        elif thread > 0:
            if thread not in flows.callers:
                flows.callers[thread] = identify(thread)
            if writes:
                call = system_call(thread, flows.callers[thread].comm)
                written = next((c.write_bytes for c in file.native.clients() if c.pid == thread), 0)
                flows.calls.setdefault(thread, []).append((written, call))
                self._say_hidden(call)
        if not writes:
            with self._lock:
                self._readers.add(file, flows.caller(thread))

    def _say_hidden(self, call: Call) -> None:
        if call.hidden and not self._said_hidden:
            self._said_hidden = True
            self._reporter.note(
                "Drivers of flows stay unknown where /proc/PID/syscall may not be read: that takes root, or"
                " the program's own user and a kernel.yama.ptrace_scope below 2."
            )

    def declined(self, file: OpenFile, thread: int, copy: Declined) -> None:
        """Remember a copy into `file`; what the kernel then moves becomes its record when it is over."""
        earlier = file.flows.declined.get(thread)
        if earlier and earlier.takes_in(copy):
            return
        client = next((client for client in file.native.clients() if client.pid == thread), None)
        if client or earlier:
            self._settle_thread(file, thread, client)
        file.flows.declined[thread] = copy

    def take_out(self, fh: int) -> OpenFile:
        """Take a released file out of the open ones; what was read of it may still be paired later."""
        with self._lock:
            file = self._files.remove(fh)
            self._readers.remove(file)
            self._readings.closed(_readings(file))
        return file

    def settle(self, file: OpenFile) -> None:
        """Report what went into a file that was taken out and not reported yet."""
        if file.flows.pending:
            self._reporter.carried(file.flows.pending, file)
        clients = {client.pid: client for client in file.native.clients()}
        for thread in list(file.flows.declined):
            self._settle_thread(file, thread, clients.pop(thread, None))
        threads = {thread: self._unreported(file, client) for thread, client in clients.items()}
        size = file.size()
        sides = [Side(file.flows.caller(thread), c, size) for thread, c in threads.items() if c.writes]
        for side in by_process(sides):
            self._settle_writes(file, side)

    def settle_all(self) -> None:
        """Settle what is still open when no more requests will come (the connection was ended by force)."""
        for file in self._files.all():
            self.settle(self.take_out(file.fh))

    def _settle_thread(self, file: OpenFile, thread: int, client: Client | None) -> None:
        """Report what one thread has written since it was last asked about."""
        writer = self._unreported(file, client) if client else None
        declined = file.flows.declined.pop(thread, None)
        if declined:
            with self._lock:
                reader = self._readings.of(
                    declined.caller.pid, declined.source, self._open_near(declined.caller, file.size())
                )
            self._reporter.fallback(declined, file, reader, writer, file.unseen)
        elif writer and writer.writes:
            self._settle_writes(file, Side(file.flows.caller(thread), writer, file.size()))

    def _unreported(self, file: OpenFile, client: Client) -> Client:
        writes, written = file.flows.settled.get(client.pid, (0, 0))
        file.flows.settled[client.pid] = client.writes, client.write_bytes
        return replace(client, writes=client.writes - writes, write_bytes=client.write_bytes - written)

    def _settle_writes(self, file: OpenFile, writer: Side) -> None:
        call = file.flows.call(writer.client.pid, writer.client.write_bytes)
        source = call.source.removeprefix(self._root)
        with self._lock:
            paired = self._readings.match(
                writer, source, file.inode.path(), self._open_near(writer.caller, writer.size)
            )
        if paired:
            reading = paired.reading
            self._reporter.moved(reading.path, reading, writer, call.driver, file, paired.by)
        elif source:
            # Read from another mount, or from the kernel's cache: nothing of it came through this server.
            self._reporter.moved(source, None, writer, call.driver, file, "call")
        else:
            self._reporter.flow(writer, call.driver, file)

    def _open_near(self, caller: Caller, size: int) -> list[Reading]:
        return [reading for file in self._readers.near(caller, size) for reading in _readings(file)]


def _readings(file: OpenFile) -> Iterator[Reading]:
    readers = [client for client in file.native.clients() if client.reads]
    if readers:
        st, path = os.fstat(file.fd), file.inode.path()
        sides = [Side(file.flows.caller(c.pid), c, st.st_size) for c in readers]
        sparse = st.st_blocks * BLOCK < st.st_size
        yield from (Reading(path, sparse, side) for side in by_process(sides))
