"""Does the server copy, once, and is it asked again? These come first: a mount has but one first copy."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from fusecopy.checking.findings import State, Verdict
from fusecopy.checking.requests import Requests, watched
from fusecopy.checking.scratch import Scratch, by_server, cached_bytes, call_copies, copy_all, opened
from fusecopy.copying import errnos
from fusecopy.copying.calls import resident_bytes, servers_size
from fusecopy.observe.events import COPY_64

MIB = 1 << 20
AT_ONCE = 8
SIZE = 8 * MIB
LOOK_SECONDS = 0.0005
BLOCK = 4096

SLOW = "every copy passes through the server by reads and writes, shares nothing, and strace cannot tell"


def dispatch(scratch: Scratch, connection: int) -> dict[str, Verdict]:
    """All of these rules, in order."""
    with watched(connection) as requests:
        found = {}
        found["first copies"], early = first_copies(scratch, requests)
        before = requests.copies() if requests else []
        source = scratch.file("source", SIZE)
        first = copy_all(source, scratch.path("one")).offloaded
        asked = requests.copies()[len(before) :] if requests else None
        found["offload"] = offload(first, asked)
        second = copy_all(source, scratch.path("two")).offloaded
        more = None if asked is None or not requests else len(requests.copies()) - len(before) - len(asked)
        found["asked again"] = asked_again(second, more)
    found["copied once"] = once(first, early)
    return found


def first_copies(scratch: Scratch, requests: Requests | None) -> tuple[Verdict, bool | None]:
    """Several at once, as the first of this mount: opcode 53 is unknown to many servers, and a kernel that
    gets ENOSYS twice at that moment copies by itself for good, without asking by 47 (fs/fuse/file.c, Linux
    6.18 to 7.2).

    Returns, too, whether the server copied before the kernel did.
    """
    numbers = range(AT_ONCE)
    sources = [scratch.file(f"first{number}", SIZE) for number in numbers]
    offloaded, early = _at_once(scratch, sources)
    for number, source in enumerate(sources):
        if number not in offloaded or source.read_bytes() != scratch.path(f"copy{number}").read_bytes():
            return Verdict(State.NOT_OK, f"one of {AT_ONCE} failed or differs", "lost data"), early
    counted = sum(value is True for value in offloaded.values())
    later = copy_all(sources[0], scratch.path("later")).offloaded
    opcodes = {opcode for opcode, _ in requests.copies()} if requests else set()
    if later is False and (counted or opcodes == {COPY_64}):
        seen = "copies of this mount were switched off by being made at once; only a new mount helps"
        return Verdict(State.NOT_OK, f"{counted} of {AT_ONCE} by the server, then none", seen), early
    return Verdict(State.OK, f"{AT_ONCE} at once, {counted} of them by the server"), early


def _at_once(scratch: Scratch, sources: list[Path]) -> tuple[dict[int, bool | None], bool | None]:
    """Copy all of them; whether each was offloaded, if it did not fail. And, of those that the kernel copied,
    whether the server had done so before; None where that was not seen in time."""
    barrier, done = threading.Barrier(AT_ONCE), set[int]()
    copies = [scratch.path(f"copy{number}") for number in range(AT_ONCE)]

    def copy(number: int) -> None:
        with opened(sources[number]) as reading, opened(copies[number], os.O_WRONLY | os.O_CREAT) as writing:
            barrier.wait()
            with suppress(OSError):
                call_copies(reading, writing)
                done.add(number)

    threads = [threading.Thread(target=copy, args=(number,)) for number in range(AT_ONCE)]
    watches = [_Watch(source, copied) for source, copied in zip(sources, copies, strict=True)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for watch in watches:
            watch.look()
        time.sleep(LOOK_SECONDS)
    seen = {watch.early for watch in watches} - {None}
    offloaded = {number: watches[number].ended() for number in done}
    return offloaded, any(seen) if seen else None


class _Watch:
    """A copy, looked at while it goes on.

    Attributes:
        early: the destination had its end when the kernel had not yet read the source's: only the server can
            have copied that. None where the kernel was not seen at it.
    """

    def __init__(self, source: Path, destination: Path) -> None:
        self.early: bool | None = None
        self._end = source.read_bytes()[-BLOCK:]
        self._source = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        self._dropped = cached_bytes(self._source, drop=True) == 0
        self._destination = destination

    def look(self) -> None:
        """Does not wait for the copy."""
        if self.early is not None:
            return
        with suppress(OSError):
            if resident_bytes(self._source):
                early = self._has_end()
                if resident_bytes(self._source) < SIZE:
                    self.early = early

    def _has_end(self) -> bool:
        """A server may only have made room. The kernel may not read what it does not know to be there."""
        with opened(self._destination) as fd:
            if servers_size(fd) < SIZE:
                return False
            return os.pread(fd, BLOCK, SIZE - BLOCK) in (self._end, b"")

    def ended(self) -> bool | None:
        """Whether the server copied, as Moved has it."""
        try:
            return by_server(self._source, self._dropped)
        finally:
            os.close(self._source)


def offload(offloaded: bool | None, asked: list[tuple[str, int]] | None) -> Verdict:
    """Whether the server copies, and which requests it answers."""
    words = _words(asked)
    if offloaded is None:
        return Verdict(State.UNKNOWN, f"the page cache does not tell{words}", "no difference to see")
    if not offloaded:
        return Verdict(State.NOT_OK, f"the kernel copies{words}", SLOW)
    if asked and any(opcode == COPY_64 and code for opcode, code in asked):
        return Verdict(State.OK, f"the server copies{words}", "at most 4 GiB a call; see first copies")
    return Verdict(State.OK, f"the server copies{words}", "copies at the speed of its backing")


def _words(asked: list[tuple[str, int]] | None) -> str:
    if asked is None:
        return " (which requests it got: as root, with tracefs)"
    told = [f"{opcode}: {errnos.name(code) if code else 'a count'}" for opcode, code in dict.fromkeys(asked)]
    return f" ({', '.join(told) or 'no copy request'})"


def asked_again(offloaded: bool | None, requests: int | None) -> Verdict:
    """Whether later copies are still asked for: ENOSYS is for good, EOPNOTSUPP and EXDEV are for one copy."""
    if offloaded or requests:
        return Verdict(State.OK, "the next copy was asked for")
    if requests is None:
        return Verdict(State.UNKNOWN, "requests are seen as root, with tracefs", "see offload")
    seen = "no file of this mount is offloaded any more, whatever its server could do; only a new mount helps"
    return Verdict(State.NOT_OK, "no copy request since ENOSYS, or since before this check", seen)


def once(offloaded: bool | None, early: bool | None) -> Verdict:
    """Where the kernel copies, whether the server had done so before: an error after progress."""
    if early:
        seen = "each copy takes twice its time, and who reads meanwhile may get stale data"
        return Verdict(State.NOT_OK, "the server copied, then said that it had not", seen)
    if offloaded:
        return Verdict(State.OK, "by the server alone")
    if early is None:
        return Verdict(State.UNKNOWN, "the page cache does not tell", "no difference to see")
    return Verdict(State.OK, "by the kernel alone", "see offload")
