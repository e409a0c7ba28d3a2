"""Settles an open file's accounts when it is released: every flow into it becomes a record."""

import threading
from collections.abc import Iterator
from dataclasses import replace

from fusecopy.filesystem.flows import Declined, Reading, Readings
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.reports import Reporter
from fusecopy.libfuse import Client
from fusecopy.observe.caller import Call, Caller, identify, system_call, uid_of

NOBODY = Caller(0, "kernel", 0), Call()
"""Writeback of mapped pages: the kernel writes, for a program that it does not name."""


class Accounts:
    """Who moved what through the open files, reported once it is over. Methods may run in any thread."""

    def __init__(self, files: OpenFiles, reporter: Reporter, mountpoint: str) -> None:
        self._files = files
        self._reporter = reporter
        self._root = mountpoint.encode(errors="surrogateescape").rstrip(b"/") + b"/"
        self._readings = Readings()
        # A file's reads are found either among the open files or among the closed ones, at every moment.
        self._lock = threading.Lock()

    def first_write(self, fh: int, thread: int) -> None:
        """Note who writes and in which system call, while the kernel holds the thread in it."""
        writers = self._files.get(fh).flows.writers
        writers[thread] = (identify(thread, uid_of(thread)), system_call(thread)) if thread else NOBODY

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
            self._readings.closed(_readings(file))
        return file

    def settle(self, file: OpenFile) -> None:
        """Report what went into a file that was taken out and not reported yet."""
        if file.flows.pending:
            self._reporter.carried(file.flows.pending, file.inode)
        clients = {client.pid: client for client in file.native.clients()}
        for thread in {**clients, **file.flows.declined}:
            self._settle_thread(file, thread, clients.get(thread))

    def settle_all(self) -> None:
        """Settle what is still open when no more requests will come (the connection was ended by force)."""
        for file in self._files.all():
            self.settle(self.take_out(file.fh))

    def _settle_thread(self, file: OpenFile, thread: int, client: Client | None) -> None:
        """Report what one thread has written since it was last asked about."""
        writer = None
        if client:
            writes, written = file.flows.settled.get(thread, (0, 0))
            file.flows.settled[thread] = client.writes, client.write_bytes
            writer = replace(client, writes=client.writes - writes, write_bytes=client.write_bytes - written)
        declined = file.flows.declined.pop(thread, None)
        if declined:
            with self._lock:
                reader = self._readings.of(thread, declined.source, self._still_open())
            self._reporter.fallback(declined, file.inode, reader, writer)
        elif writer and writer.writes:
            self._settle_writes(file, writer)

    def _settle_writes(self, file: OpenFile, writer: Client) -> None:
        unseen = Caller(writer.pid, "?", -1), Call()
        caller, call = file.flows.writers.get(writer.pid, unseen)
        source = call.source.removeprefix(self._root)
        with self._lock:
            reading = self._readings.match(writer, source, file.inode.path(), self._still_open())
        if reading:
            self._reporter.moved(reading.path, reading.client, writer, caller, call.driver, file.inode)
        elif source:
            # Read from another mount, or from the kernel's cache: nothing of it came through this server.
            self._reporter.moved(source, None, writer, caller, call.driver, file.inode)
        else:
            self._reporter.flow(writer, caller, call.driver, file.inode)

    def _still_open(self) -> list[Reading]:
        return [reading for file in self._files.all() for reading in _readings(file)]


def _readings(file: OpenFile) -> Iterator[Reading]:
    readers = [client for client in file.native.clients() if client.reads]
    if readers:
        size, path = file.size(), file.inode.path()
        yield from (Reading(path, size, client) for client in readers)
