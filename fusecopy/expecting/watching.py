"""Running a command and judging its copies."""

import os
import resource
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fusecopy.clone.noting import Kind, Noted, Notes
from fusecopy.expecting import judging, results
from fusecopy.expecting.files import Identity, Opener
from fusecopy.expecting.following import Following, Pair, Written
from fusecopy.expecting.naming import name_now
from fusecopy.expecting.records import Copy, State
from fusecopy.expecting.results import Results

IDLE_MILLISECONDS = 20
DESCRIPTORS_EACH = 8
"""Copies that may be held at once are so many times fewer than the descriptors we may have: two each, some to
look with, and those that are noted and not taken yet."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a command did.

    Attributes:
        status: its exit status; 128 and the number for a signal.
        copies: in no order.
        unseen: calls of which nothing is known, because their process may not be looked at.
        lost: names that were opened for writing and were gone before they could be looked at, if they ever
            were there.
    """

    status: int
    copies: list[Copy]
    unseen: int
    lost: int


class _Watch:
    """The copies of one command."""

    def __init__(self, notes: Notes, opener: Opener, results: Results) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._notes = notes
        self._opener = opener
        self._copies: list[Copy] = []
        self._judged: set[Identity] = set()
        self._shared: set[Identity] = set()
        self._settled_names: dict[int, Identity] = {}
        self._results = results
        self._following = Following(self._settled, soft // DESCRIPTORS_EACH, self._judge, results)
        self._ended = threading.Event()

    def follow(self) -> None:
        """Take what is noted until the command has ended and nothing is left."""
        while True:
            ended = self._ended.is_set()
            noted = self._notes.next(0 if ended else IDLE_MILLISECONDS)
            if noted is not None:
                self._take(noted)
            elif ended:
                self._results.finish()
                return
            else:
                self._results.collect()
                self._following.idle()
                for pair in self._following.unlinked():
                    self._judge(pair)

    def end(self) -> None:
        """The command has ended: what it noted last is the last."""
        self._ended.set()

    def judge(self) -> list[Copy]:
        """All that was copied. What was copied by asking for it was not by reading and writing."""
        self._judge_all()
        for number, identity in self._settled_names.items():
            copy = self._copies[number]
            name = name_now(copy.destination, identity, self._following.renames)
            self._copies[number] = replace(copy, destination=name)
        return self._copies

    def lost(self) -> int:
        return self._following.lost

    def _take(self, noted: Noted) -> None:
        if noted.kind is Kind.UMOUNT:
            self._judge_all()
            self._notes.let_unmount()
        else:
            self._following.take(noted)

    def _judge_all(self) -> None:
        for pair in self._following.release():
            self._judge(pair)
        self._judge_written(list(self._following.written()))

    def _judge_written(self, written: list[Written]) -> None:
        """Copies by reading and writing. What was asked for is told already; of a file that is shared with
        its source since, that it was opened for writing again says nothing."""
        others = [one for one in written if one.file.identity not in self._judged]
        for one, copy in judging.by_reading(others, self._following, self._opener):
            if copy.state is not State.SHARED or one.file.identity not in self._shared:
                self._copies.append(copy)
        for one in written:
            one.file.close()

    def _settled(self, pair: Pair) -> bool:
        copy = judging.at_once(pair)
        if copy is None:
            return False
        self._shared.add(pair.destination.identity)
        self._settled_names[len(self._copies)] = pair.destination.identity
        self._copies.append(copy)
        return True

    def _judge(self, pair: Pair) -> None:
        copy = judging.afterwards(pair, self._opener, self._results)
        self._judged.add(pair.destination.identity)
        pair.close()
        if copy is not None:
            self._copies.append(copy)


def watch(command: Sequence[str], opener: Opener, trace: bool) -> Watched:
    """Run a command to its end and judge its copies.

    Args:
        trace: look at what its calls return, where the kernel's tracing can be used.

    Raises:
        CannotRun: it was not run.
    """
    with results.watched(trace) as seen:
        notes = Notes(command)
        watch = _Watch(notes, opener, seen)
        follower = threading.Thread(target=watch.follow, daemon=True)
        follower.start()
        status = os.waitstatus_to_exitcode(notes.await_end())
        watch.end()
        follower.join()
        copies = watch.judge()
    return Watched(status if status >= 0 else 128 - status, copies, notes.unseen(), watch.lost())
