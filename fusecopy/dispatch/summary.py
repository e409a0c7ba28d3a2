"""What a log amounts to: sums by dispatch and path, and by program."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from fusecopy.dispatch.records import Copy, Flow, Header, Lost, Record


@dataclass(slots=True)
class Group:
    """Sums over some copies. Sizes are bytes.

    Attributes:
        copies: how many.
        asked: bytes the programs asked for.
        copied: bytes that were copied; copies of which it is not known are not in it.
        shared: bytes proven shared; `unprovable` copies are not in it.
        unprovable: copies that copied something, or may have, and may share some of it.
        rewritten: bytes physically written again; `unmeasured` copies are not in it.
        unmeasured: copies of which it is not known how much was written.
        requests: FUSE requests that served them.
        duration_us: time they took, in microseconds.
    """

    copies: int = 0
    asked: int = 0
    copied: int = 0
    shared: int = 0
    unprovable: int = 0
    rewritten: int = 0
    unmeasured: int = 0
    requests: int = 0
    duration_us: int = 0

    def add_all(self, copies: Sequence[Copy]) -> None:
        """Count copies. Field by field, because a sum over one field of many copies runs at C's speed."""
        self.copies += len(copies)
        self.asked += sum(map(_length, copies))
        self.copied += _sum_of_known(map(_copied, copies))
        shared = list(map(_shared, copies))
        self.shared += _sum_of_known(shared)
        if None in shared:
            self.unprovable += sum(copy.shared is None and copy.copied != 0 for copy in copies)
        written = list(map(_rewritten, copies))
        self.rewritten += _sum_of_known(written)
        self.unmeasured += written.count(None)
        served = list(map(_requests, copies))
        self.requests += (
            sum(map(_copy_requests, served)) + sum(map(_reads, served)) + sum(map(_writes, served))
        )
        self.duration_us += sum(map(_duration, copies))

    def add_group(self, other: "Group") -> None:
        """Count the copies that another group has counted."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class Summary:
    """The sums of a log.

    Attributes:
        by_path: by dispatch and path, in order of appearance.
        by_program: by the program's name (comm), in order of appearance.
        total: over all copies.
        flows: writes without a known source, which are no copies; flow_bytes: bytes that they wrote.
        lost: records that are missing from the log.
        passthrough: there was a mount whose files the kernel read and wrote by itself.
    """

    by_path: dict[tuple[str, str], Group] = field(default_factory=dict)
    by_program: dict[str, Group] = field(default_factory=dict)
    total: Group = field(default_factory=Group)
    flows: int = 0
    flow_bytes: int = 0
    lost: int = 0
    passthrough: bool = False

    def add_all(self, records: Iterable[Record]) -> None:
        """Count records."""
        alike: defaultdict[tuple[str, str, str], list[Copy]] = defaultdict(list)
        for record in records:
            if type(record) is Copy:
                alike[record.dispatch, record.path, record.comm].append(record)
            else:
                self._add_other(record)
        for (dispatch, path, comm), copies in alike.items():
            group = Group()
            group.add_all(copies)
            self.by_path.setdefault((dispatch, path), Group()).add_group(group)
            self.by_program.setdefault(comm, Group()).add_group(group)
            self.total.add_group(group)

    def _add_other(self, record: Record) -> None:
        if isinstance(record, Flow):
            self.flows += 1
            self.flow_bytes += record.requests.write_bytes
        elif isinstance(record, Lost):
            self.lost += record.count
        elif isinstance(record, Header):
            self.passthrough |= record.passthrough


_length = attrgetter("length")
_copied = attrgetter("copied")
_shared = attrgetter("shared")
_rewritten = attrgetter("rewritten")
_requests = attrgetter("requests")
_duration = attrgetter("duration_us")
_copy_requests = attrgetter("copies")
_reads = attrgetter("reads")
_writes = attrgetter("writes")


def _sum_of_known(values: Iterable[int | None]) -> int:
    return sum(filter(None, values))
