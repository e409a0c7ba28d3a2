"""One story for each copy: what a program asked, what the kernel sent, what the server recorded.

A descriptor is a number that means nothing once its process has gone on. So a call belongs to the mount to
which the kernel sent requests while it lasted, else to the one where its thread has last opened a file; and
a record of the dispatch log belongs to the calls of its process that were under way when it was made.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fusecopy.copying import errnos
from fusecopy.dispatch.records import Copy, Dispatch, Flow
from fusecopy.observe.calls import COPIES, Request, SystemCall
from fusecopy.observe.family import Process
from fusecopy.observe.recording import Recording
from fusecopy.observe.watched import Watched

SLACK_NS = 2_000
"""The kernel's events are printed in whole microseconds, and so are the log's durations."""

OPENS = ("OPEN", "CREATE")
MOVES = ("READ", "WRITE")


@dataclass(slots=True)
class Step:
    """A call of a program, or READs and WRITEs that it caused without one of the calls that are traced.

    Attributes:
        call: None for read(2), write(2), their like, and mapped pages.
        mount: the mount it concerns; None where no request shows it.
        requests: what the kernel sent during the call.
        records: what the server's log has about it; one record may be about several calls.
    """

    process: Process
    thread: int
    call: SystemCall | None
    mount: Watched | None
    requests: list[Request] = field(default_factory=list)
    records: list[Copy | Flow] = field(default_factory=list)

    @property
    def begun(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        return self.call.begun if self.call else self.requests[0].begun

    @property
    def ended(self) -> int:
        """Nanoseconds of CLOCK_MONOTONIC."""
        return self.call.ended if self.call else max(request.ended for request in self.requests)

    @property
    def driver(self) -> str:
        """The call's name as the log has it; empty where there was none."""
        return self.call.name if self.call else ""

    @property
    def copies(self) -> list[Request]:
        """The requests that ask the server to copy."""
        return [request for request in self.requests if request.opcode in COPIES]

    @property
    def moved(self) -> int:
        """Bytes that the program was told it has copied; of a step without a call, bytes written."""
        return max(self.call.result, 0) if self.call else self.written

    @property
    def written(self) -> int:
        """Bytes in WRITE requests."""
        return sum(request.written for request in self.requests)

    @property
    def dispatch(self) -> Dispatch:
        """What the kernel did, as its requests show it; unknown where it sent none and none was due."""
        if self.call is None or self.call.name in ("sendfile", "splice"):
            return "bypassed"
        if self.call.result < 0:
            return "refused"
        if any(request.errno == 0 for request in self.copies):
            return "dispatched"
        return "fallback" if self.requests and self.call.result else "unknown"


@dataclass(slots=True)
class Story:
    """One copy: the steps of one thread between two files."""

    process: Process
    steps: list[Step]

    @property
    def files(self) -> tuple[str, str] | None:
        """Source and destination as the server recorded them."""
        found = (record for step in self.steps for record in step.records if isinstance(record, Copy))
        return next(((record.src, record.dst) for record in found), None)

    @property
    def mount(self) -> Watched | None:
        """The mount that the copy was made in."""
        return next((step.mount for step in reversed(self.steps) if step.mount), None)


@dataclass(frozen=True, slots=True)
class Told:
    """All stories, in order, and the records of the log that belong to none of them."""

    stories: list[Story]
    left: list[tuple[Watched, Copy | Flow]]


def tell(recording: Recording) -> Told:
    """Put the three sides together."""
    stories = sorted(_stories(recording), key=lambda story: story.steps[0].begun)
    steps = [step for story in stories for step in story.steps]
    return Told(stories, list(_match_records(recording, steps)))


def errors(requests: Iterable[Request]) -> Counter[tuple[str, str]]:
    """Errors that a server answered, by opcode and name."""
    return Counter((request.opcode, errnos.name(request.errno)) for request in requests if request.errno)


def moved(steps: Iterable[Step]) -> int:
    """Bytes that steps have copied. What splice(2) put into a pipe is counted when it comes out."""
    total, spliced = 0, Counter[int | None]()
    for step in steps:
        if step.call and step.call.name == "splice":
            spliced[step.call.destination] += step.moved
        else:
            total += step.moved
    return total + min(spliced.values(), default=0)


def overlapping(begun: int, ended: int, others: Iterable[SystemCall]) -> list[SystemCall]:
    """The calls that were made between two moments."""
    return [call for call in others if begun - SLACK_NS <= call.begun and call.ended <= ended + SLACK_NS]


class _Thread:
    """Follows one thread of the command through its calls and requests, and cuts them into copies."""

    def __init__(self, recording: Recording) -> None:
        self.stories: list[Story] = []
        self._recording = recording
        self._mounts = {mount.connection: mount for mount in recording.mounts}
        self._opened: Watched | None = None
        self._story: Story | None = None

    def call(self, call: SystemCall) -> None:
        """A call begins; another pair of files than before is another copy."""
        if self._story and _pair(self._story) not in (None, (call.source, call.destination)):
            self._story = None
        self._add(Step(call.process, call.thread, call, self._opened))

    def request(self, request: Request) -> None:
        """A request, of the last call if that is under way."""
        mount = self._mounts.get(request.connection)
        step = self._story.steps[-1] if self._story else None
        if step and step.call and request.begun <= step.call.ended:
            step.requests.append(request)
            if request.opcode in (*COPIES, "WRITE") or step.mount is None:
                step.mount = mount  # a copy between two mounts is told as one of its destination
        elif request.opcode in OPENS:
            self._opened, self._story = mount, None
        elif request.opcode in MOVES:
            self._move(request, mount)

    def _move(self, request: Request, mount: Watched | None) -> None:
        step = self._story.steps[-1] if self._story else None
        if step is None or step.call:
            process = self._recording.family.process(request.thread, request.begun)
            step = Step(process, request.thread, None, mount)
            self._add(step)
        step.requests.append(request)
        if request.opcode == "WRITE":
            step.mount = mount

    def _add(self, step: Step) -> None:
        if self._story is None:
            self._story = Story(step.process, [])
            self.stories.append(self._story)
        self._story.steps.append(step)


def _pair(story: Story) -> tuple[int | None, int | None] | None:
    """The descriptors of a story's copy; None while no call has named both. A splice names a pipe besides."""
    calls = [step.call for step in story.steps if step.call and step.call.name != "splice"]
    pairs = ((call.source, call.destination) for call in calls if None not in (call.source, call.destination))
    return next(pairs, None)


def _stories(recording: Recording) -> Iterator[Story]:
    """Every thread's copies. Reading alone is none."""
    threads: dict[int, _Thread] = {}
    seen: list[SystemCall | Request] = [*recording.calls]
    seen += [request for request in recording.requests if request.thread in recording.family]
    for item in sorted(seen, key=lambda item: item.begun):
        thread = threads.setdefault(item.thread, _Thread(recording))
        if isinstance(item, SystemCall):
            thread.call(item)
        else:
            thread.request(item)
    for thread in threads.values():
        yield from (story for story in thread.stories if any(s.call or s.written for s in story.steps))


def _match_records(recording: Recording, steps: list[Step]) -> Iterator[tuple[Watched, Copy | Flow]]:
    """Give every record to its steps; those that find none come back."""
    for mount in recording.mounts:
        own = [step for step in steps if step.mount is mount]
        for record in sorted(recording.records[mount.connection], key=_begun):
            found = _steps_of(record, own)
            for step in found:
                step.records.append(record)
            if not found and _may_be_ours(record, recording):
                yield mount, record


def _may_be_ours(record: Copy | Flow, recording: Recording) -> bool:
    """Not of another program. The kernel, which writes mapped pages back, may do so for the command."""
    return not recording.traced or record.pid <= 0 or record.pid in recording.family.pids


def _steps_of(record: Copy | Flow, steps: list[Step]) -> list[Step]:
    """The steps of one thread that a record is about.

    Where several threads of the process were copying at that time, the one whose count is nearest.
    """
    chains: dict[int, list[Step]] = {}
    for step in steps:
        if _is_about(record, step) and _goes_on(chains.get(step.thread, []), step, _bytes(record)):
            chains.setdefault(step.thread, []).append(step)
    return min(chains.values(), key=lambda chain: abs(moved(chain) - _bytes(record)), default=[])


def _is_about(record: Copy | Flow, step: Step) -> bool:
    """Whether a step may be what a record is about: same process and driver, no other record, same time."""
    if step.process.pid != record.pid or not _is_driven(step, record):
        return False
    if step.call and (not step.call.result or any(isinstance(other, Copy) for other in step.records)):
        return False
    return step.begun <= record.mono_ns + SLACK_NS and step.ended >= _begun(record) - SLACK_NS


def _goes_on(chain: list[Step], step: Step, count: int) -> bool:
    """Whether a step goes on with a chain of steps that are to copy `count` bytes.

    A record lasts until the last write through its handle, which may have been for another copy.
    """
    if not chain:
        return True
    last = chain[-1].call
    if last is None or step.call is None:
        return True
    same = last.name == "splice" or (last.source, last.destination) == (
        step.call.source,
        step.call.destination,
    )
    return same and moved(chain) < count


def _is_driven(step: Step, record: Copy | Flow) -> bool:
    """Whether a record is about this kind of call. An ioctl that asks for a clone never gets to a server."""
    if record.driver in ("copy_file_range", "sendfile", "splice"):
        return step.driver == record.driver
    return step.call is None or (record.driver == "unknown" and step.driver in ("sendfile", "splice"))


def _bytes(record: Copy | Flow) -> int:
    """Bytes that a record tells of; where it is not known how many were copied, those asked for."""
    if isinstance(record, Flow):
        return record.requests.write_bytes
    return record.length if record.copied is None else record.copied


def _begun(record: Copy | Flow) -> int:
    return record.mono_ns - record.duration_us * 1000
