"""The system calls that copy, and the FUSE requests, each from its beginning to its end."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fusecopy.observe.events import COPY, COPY_64, Ended, Enter, Event, Exit, Sent
from fusecopy.observe.family import Family, Process

CLONES = {0x40049409: "FICLONE", 0x4020940D: "FICLONERANGE", 0xC0189436: "FIDEDUPERANGE"}
"""_IOW and _IOWR numbers of linux/fs.h."""

TRACED = ("copy_file_range", "ioctl", "sendfile64", "splice")
"""As the kernel names them in its events."""

COPIES = (COPY, COPY_64)

WRITE_HEAD = 80
"""struct fuse_in_header and fuse_write_in before the data."""

REPLY_HEAD = 16
"""struct fuse_out_header before the data."""


@dataclass(frozen=True, slots=True)
class SystemCall:
    """A system call that copies or would.

    Attributes:
        name: "copy_file_range", "sendfile", "splice", or "ioctl FICLONE" and its like.
        source, destination: descriptors of the calling process; None where the arguments do not name them.
        asked: bytes asked for; None where the arguments do not say.
        result: what it returned; a negative errno where it failed.
        begun, ended: nanoseconds of CLOCK_MONOTONIC.
    """

    process: Process
    thread: int
    name: str
    source: int | None
    destination: int | None
    asked: int | None
    result: int
    begun: int
    ended: int


@dataclass(frozen=True, slots=True)
class Request:
    """A FUSE request.

    Attributes:
        thread: in whose context it was sent.
        sent_bytes, received_bytes: lengths of request and reply, heads included.
        errno: the server's answer, 0 for success; None where no answer was seen.
        begun, ended: nanoseconds of CLOCK_MONOTONIC.
    """

    connection: int
    unique: int
    thread: int
    opcode: str
    sent_bytes: int
    received_bytes: int
    errno: int | None
    begun: int
    ended: int

    @property
    def written(self) -> int:
        """Data in a WRITE."""
        return self.sent_bytes - WRITE_HEAD if self.opcode == "WRITE" else 0

    @property
    def read(self) -> int:
        """Data in the reply to a READ."""
        return max(0, self.received_bytes - REPLY_HEAD) if self.opcode == "READ" else 0


def calls(events: Iterable[Event], family: Family) -> Iterator[SystemCall]:
    """The calls of a family's members, in order of their end. Learns new members on the way."""
    entered: dict[int, Enter] = {}
    for event in events:
        family.add(event)
        if event.thread not in family:
            continue
        if isinstance(event, Enter):
            entered[event.thread] = event
        elif isinstance(event, Exit):
            begin = entered.pop(event.thread, None)
            if begin and begin.name == event.name:
                yield _call(begin, event, family.process(event.thread, begin.time))


def requests(events: Sequence[Event]) -> list[Request]:
    """The requests, in order of their sending."""
    ends = {(event.connection, event.unique): event for event in events if isinstance(event, Ended)}
    return [
        _request(event, ends.get((event.connection, event.unique)))
        for event in events
        if isinstance(event, Sent)
    ]


def _call(begin: Enter, end: Exit, process: Process) -> SystemCall:
    name, source, destination, asked = _arguments(begin)
    return SystemCall(
        process, begin.thread, name, source, destination, asked, end.result, begin.time, end.time
    )


def _arguments(begin: Enter) -> tuple[str, int | None, int | None, int | None]:
    """Name, source, destination and length."""
    given = begin.arguments
    match begin.name:
        case "ioctl":
            return _clone_arguments(CLONES[given["cmd"]], given["fd"], given["arg"])
        case "sendfile64":
            return "sendfile", given["in_fd"], given["out_fd"], given["count"]
        case name:
            return name, given["fd_in"], given["fd_out"], given["len"]


def _clone_arguments(name: str, fd: int, argument: int) -> tuple[str, int | None, int | None, None]:
    """The rest of a FICLONERANGE and a FIDEDUPERANGE lies in memory that no event shows."""
    match name:
        case "FICLONE":
            return f"ioctl {name}", argument, fd, None
        case "FICLONERANGE":
            return f"ioctl {name}", None, fd, None
        case _:
            return f"ioctl {name}", fd, None, None


def _request(sent: Sent, end: Ended | None) -> Request:
    return Request(
        sent.connection,
        sent.unique,
        sent.thread,
        sent.opcode,
        sent.length,
        end.length if end else 0,
        end.errno if end else None,
        sent.time,
        end.time if end else sent.time,
    )
