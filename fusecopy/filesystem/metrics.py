"""What the server has done as text for Prometheus: user.fusecopy.metrics, and `fusecopy metrics`.

Names follow the conventions of Prometheus: base units, and _total for what only grows. They are promised by
docs/metrics.md.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fusecopy.dispatch.totals import DURATION_BOUNDS_US, Tally
from fusecopy.exposition import Histogram, Labels, family, histogram
from fusecopy.serving import LATENCY_BOUNDS_NS, Latencies

COHERENCES = ("watched", "partly", "timeouts", "none")
"""How others' changes to the backing are seen: all of them, some, what is asked for again, none."""


class Facts(NamedTuple):
    """What the text is made of.

    Attributes:
        about: what a mount is told by; labels of fusecopy_mount_info.
        began: when the server began, in seconds since 1970.
        tally: copies and flows; lost: records that are missing from the log.
        latencies: of requests.
        coherence: what is in force, as `Watching.state` says it.
        unasked: operations that the kernel no longer asks this mount for.
        inodes, open_files: how many are known and open.
    """

    about: Labels
    began: float
    tally: Tally
    lost: int
    latencies: Sequence[Latencies]
    coherence: str
    unasked: Sequence[str]
    inodes: int
    open_files: int


def text(facts: Facts) -> str:
    """All metrics."""
    parts = (_of_mount(facts), _of_copies(facts), _of_requests(facts.latencies))
    return "".join(f"{line}\n" for part in parts for line in part)


def _of_mount(facts: Facts) -> Iterator[str]:
    yield from _gauge("mount_info", "The mount.", (facts.about, 1))
    yield from _gauge("start_time_seconds", "When the mount began, since 1970.", ({}, facts.began))
    yield from _gauge("inodes", "Inodes that are known.", ({}, facts.inodes))
    yield from _gauge("open_files", "Files that are open.", ({}, facts.open_files))
    in_force = "partly" if facts.coherence.startswith("watched,") else facts.coherence.partition(" ")[0]
    yield from _gauge(
        "coherence",
        "How changes by others are seen: 1 for what is in force.",
        *(({"state": state}, int(state == in_force)) for state in COHERENCES),
    )
    yield from _gauge(
        "unasked_operation",
        "1 for what was answered ENOSYS, so that the kernel does not ask this mount again.",
        *(({"operation": name}, 1) for name in facts.unasked),
    )


def _of_copies(facts: Facts) -> Iterator[str]:
    sums = [({"dispatch": dispatch, "path": path}, one) for (dispatch, path), one in facts.tally.sums.items()]
    yield from _counter("copies", "Copies.", *((labels, one.copies) for labels, one in sums))
    yield from _counter("copied_bytes", "Bytes copied.", *((labels, one.copied) for labels, one in sums))
    yield from _counter(
        "shared_bytes", "Of these, proven to be shared.", *((labels, one.shared) for labels, one in sums)
    )
    yield from _counter(
        "rewritten_bytes", "Of these, written again.", *((labels, one.rewritten) for labels, one in sums)
    )
    bounds = [bound / 1e6 for bound in DURATION_BOUNDS_US]
    durations = [Histogram(labels, bounds, one.durations, one.duration_us / 1e6) for labels, one in sums]
    meaning = "How long copies took, from the first request to the last answer."
    yield from histogram("fusecopy_copy_duration_seconds", meaning, durations)
    yield from _counter("flows", "Flows: writes not known to be a copy.", ({}, facts.tally.flows))
    yield from _counter("flow_bytes", "Bytes written by flows.", ({}, facts.tally.flow_bytes))
    yield from _counter("lost_records", "Records missing from the log.", ({}, facts.lost))


def _of_requests(latencies: Sequence[Latencies]) -> Iterator[str]:
    bounds = [bound / 1e9 for bound in LATENCY_BOUNDS_NS]
    durations = [
        Histogram({"operation": one.operation, "lane": one.lane}, bounds, one.counts, one.total_ns / 1e9)
        for one in latencies
    ]
    meaning = "How long requests took to be served, by operation and by who answered."
    yield from histogram("fusecopy_request_duration_seconds", meaning, durations)


def _gauge(name: str, meaning: str, *samples: tuple[Labels, float]) -> Iterator[str]:
    return family(f"fusecopy_{name}", "gauge", meaning, samples)


def _counter(name: str, meaning: str, *samples: tuple[Labels, int]) -> Iterator[str]:
    return family(f"fusecopy_{name}_total", "counter", meaning, samples)
