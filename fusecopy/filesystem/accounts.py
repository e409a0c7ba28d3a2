"""Settles an open file's accounts when it is released: every flow into it becomes a record."""

from collections.abc import Iterator

from fusecopy.filesystem.flows import Reading, Readings
from fusecopy.filesystem.openfiles import OpenFile, OpenFiles
from fusecopy.filesystem.reports import Reporter
from fusecopy.libfuse import Client
from fusecopy.observe.caller import UNKNOWN, Caller, driver, identify, uid_of


class Accounts:
    """Who moved what through the open files, reported once it is over."""

    def __init__(self, files: OpenFiles, reporter: Reporter) -> None:
        self._files = files
        self._reporter = reporter
        self._readings = Readings()

    def first_write(self, fh: int, thread: int) -> None:
        """Note who writes and in which system call, while the kernel holds the thread in it."""
        file = self._files.get(fh)
        caller = identify(thread, uid_of(thread)) if thread else Caller(0, "kernel", 0)
        file.flows.writers[thread] = (caller, driver(thread) if thread else UNKNOWN)

    def settle(self, file: OpenFile) -> None:
        """Report what went into a file that has just been taken out of the open ones."""
        if file.flows.pending:
            self._reporter.carried(file.flows.pending, file.inode)
        clients = file.native.clients()
        self._settle_declined(file, clients)
        for client in clients:
            if client.writes and client.pid not in file.flows.declined:
                self._settle_writes(file, client)
        self._readings.closed(_readings(file, clients))

    def _settle_declined(self, file: OpenFile, clients: list[Client]) -> None:
        for thread, declined in file.flows.declined.items():
            writer = next((c for c in clients if c.pid == thread and c.writes), None)
            reader = self._readings.of(thread, declined.source, self._still_open())
            self._reporter.fallback(declined, file.inode, reader, writer)

    def _settle_writes(self, file: OpenFile, writer: Client) -> None:
        caller, call = file.flows.writers.get(writer.pid, (Caller(writer.pid, "?", -1), UNKNOWN))
        reading = self._readings.match(writer, self._still_open())
        if reading:
            self._reporter.moved(reading, writer, caller, call, file.inode)
        else:
            self._reporter.flow(writer, caller, call, file.inode)

    def _still_open(self) -> list[Reading]:
        return [r for file in self._files.all() for r in _readings(file, file.native.clients())]


def _readings(file: OpenFile, clients: list[Client]) -> Iterator[Reading]:
    readers = [client for client in clients if client.reads]
    if readers:
        size, path = file.size(), file.inode.path()
        yield from (Reading(path, size, client) for client in readers)
