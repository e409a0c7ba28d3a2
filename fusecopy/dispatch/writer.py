"""Writing the dispatch log: a bounded queue and a thread, so that no reply waits for a disk."""

import logging
import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from fusecopy.dispatch.claim import cannot_be_written, make_private
from fusecopy.dispatch.lines import Lines
from fusecopy.dispatch.logfile import KEEP, MAX_BYTES, LogFile
from fusecopy.dispatch.records import Footer, Header, Lost, Record, Totals, timestamp
from fusecopy.dispatch.renames import Change, with_last_names
from fusecopy.dispatch.totals import Tally

QUEUE_LIMIT = 4096
"""Records that may wait, besides as many in the thread's hands; what comes beyond is dropped and counted."""

LINGER_SECONDS = 0.05
"""How long records are gathered before they are written, and at least wait unless they are asked for: waking
for each cost the server 30 us more CPU, and programs rename what they copied as soon as it is whole."""

TOGETHER = 128
"""Records that are encoded and written together: some 100 KiB, for which Python's lock is held 0.2 ms."""

RETRY_SECONDS = 1.0
"""How long to wait before a file that could not be written is tried again."""

COMPRESSION_SECONDS = 2.0
"""How long the end waits for the last rotated file to be compressed; else the next server does it."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()


class Writer:
    """Writes one mount's log. Every method may be called from any thread, and from a signal handler.

    A thread does not survive a fork: make the writer after the server has gone into the background.

    Args:
        path: the log; its directory is made where it is missing.
        header: the mount's header, written first into every file.
        limit: records that may wait.
        max_bytes: size at which the file is rotated.
        keep: rotated files to keep.
        claimed: the descriptor by which the log was claimed before (fusecopy.dispatch.claim).

    Raises:
        LogError: the file cannot be opened or written.
    """

    def __init__(
        self,
        path: Path,
        header: Header,
        *,
        limit: int = QUEUE_LIMIT,
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
        claimed: int = -1,
    ) -> None:
        self.path = path
        self._file = LogFile(path, _encode(header), max_bytes, keep, claimed)
        try:
            make_private(path.parent)
            self._file.open()
        except OSError as error:
            raise cannot_be_written(path, error) from error
        self._limit = limit
        # Its lock is reentrant, so a signal handler that interrupts put() cannot wait for itself.
        self._changed = threading.Condition()
        self._queue: list[Record | bytes | Change] = []
        self._dropped = 0
        self._lost = 0
        self._accepted = 0
        self._finished = 0
        self._flush_to = 0
        self._reopening = False
        self._closing = False
        self._failing = False
        self._tally = Tally()
        self._thread = threading.Thread(target=self._run, name="dispatch-log", daemon=True)
        self._thread.start()

    @property
    def totals(self) -> Totals:
        """Totals of all copies put so far, those lost to the log included."""
        with self._changed:
            return self._tally.totals()

    @property
    def tally(self) -> Tally:
        """The same by dispatch and path, and of flows, as they are now."""
        with self._changed:
            return deepcopy(self._tally)

    @property
    def lost(self) -> int:
        """Records that did not or will not reach the log."""
        with self._changed:
            return self._lost + self._dropped

    def put(self, record: Record | Lines) -> None:
        """Queue a record, or many. Never waits for the disk and never raises; counts as lost what comes when
        the queue is full or the writer closed."""
        with self._changed:
            self._tally.add(record)
            if isinstance(record, Lost):
                self._lost += record.count
            records = record.lines if isinstance(record, Lines) else (record,)
            was_empty = not self._queue
            room = 0 if self._closing else max(0, self._limit - len(self._queue))
            self._queue += records[:room]
            self._accepted += len(records[:room])
            self._dropped += sum(not isinstance(dropped, Lost) for dropped in records[room:])
            if self._queue and (was_empty or self._half_full()):
                self._changed.notify_all()

    def renamed(self, change: Change) -> None:
        """A file or directory has another name, or none any more: records that wait are to tell that."""
        with self._changed:
            if self._queue:
                self._queue.append(change)
                self._accepted += 1

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait, at most `timeout` seconds, until what was asked before is done; whether it is."""
        with self._changed:
            target = self._flush_to = self._accepted
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._finished >= target and not self._reopening, timeout)

    def await_room(self, timeout: float = 5.0) -> bool:
        """Wait, at most `timeout` seconds, until less than half of the queue is in use; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closing or not self._half_full(), timeout)

    def reopen(self) -> None:
        """Open the file at the path again: what SIGHUP means after logrotate moved it away."""
        with self._changed:
            self._reopening = True
            self._changed.notify_all()

    def close(self, timeout: float = 5.0) -> None:
        """Write what waits and the footer, and close the file; give up after `timeout` seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)

    def _run(self) -> None:
        while (due := self._wait()) is not None:
            if self._reopening:
                self._attempt(self._file.open)
                self._reopening = False
            self._write_batch(due)
        footer = Footer(timestamp(), self.totals, self.lost)
        self._attempt(lambda: self._file.append([_encode(footer)]))
        self._file.finish(COMPRESSION_SECONDS)

    def _wait(self) -> int | None:
        """Wait for work, and tell how much of the queue is due; None when nothing is left and the writer is
        closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._reopening or self._closing)
            due = len(self._queue)
            if self._changed.wait_for(self._urgent, LINGER_SECONDS):
                due = len(self._queue)
            return None if self._closing and not self._queue else due

    def _urgent(self) -> bool:
        return self._closing or self._reopening or self._half_full() or self._flush_to > self._finished

    def _half_full(self) -> bool:
        return len(self._queue) * 2 >= self._limit

    def _write_batch(self, due: int) -> None:
        with self._changed:
            if self._dropped:
                due = len(self._queue)
            waiting, self._queue = self._queue, self._queue[due:]
            dropped, self._dropped = self._dropped, 0
            self._lost += dropped
            self._changed.notify_all()
        batch = with_last_names(waiting, due)
        for at in range(0, len(batch), TOGETHER):
            self._write(batch[at : at + TOGETHER])
        if dropped:
            # They came when the queue was full: after all of this batch and before the next.
            self._write([Lost(timestamp(), dropped)])
        with self._changed:
            self._finished += due
            self._changed.notify_all()

    def _write(self, records: Sequence[Record | bytes]) -> None:
        """Write records, however long the disk stays full; give them up only when closing."""
        left = [self._encoded(record) for record in records]
        while left:
            written = self._attempt(partial(self._file.append, [line for _, line in left]))
            if written:
                del left[:written]
                continue
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, RETRY_SECONDS):
                    self._lost += sum(not isinstance(record, Lost) for record, _ in left)
                    return

    def _encoded(self, record: Record | bytes) -> tuple[Record | bytes, bytes]:
        """The record and its line; where JSON cannot hold it, a record of its loss."""
        if isinstance(record, bytes):
            return record, record
        try:
            return record, _encode(record)
        except (TypeError, ValueError) as error:
            logger.error("%s: a record cannot be encoded: %s", self.path, error)
            self._lost += 1
            lost = Lost(timestamp(), 1, str(error))
            return lost, _encode(lost)

    def _attempt(self, action: Callable[[], Result]) -> Result | None:
        """Do something to the file; report the first failure and the recovery, not each try between."""
        try:
            result = action()
        except OSError as error:
            if not self._failing:
                logger.error("%s: the dispatch log cannot be written: %s", self.path, error.strerror)
            self._failing = True
            return None
        if self._failing:
            logger.warning("%s: the dispatch log is written again", self.path)
        self._failing = False
        return result


def _encode(record: Record) -> bytes:
    return _encoder.encode(record) + b"\n"
