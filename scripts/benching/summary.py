"""From measurements to rows: medians over rounds, and medians of the ratios within each round."""

import statistics
from collections.abc import Callable, Iterable

import msgspec

from benching.peers import Kind
from benching.records import Measurement, Outcome, Run

NATIVE = "native"


class Ratio(msgspec.Struct, frozen=True):
    """The median of a ratio over the rounds, and its least and most."""

    median: float
    least: float
    most: float


class Row(msgspec.Struct, kw_only=True, frozen=True):
    """One peer in one workload.

    Attributes:
        problem: why there are no figures; empty where there are.
        to_native, to_best: wall time against the backing itself and against the best peer of that workload;
            None where that has no figures.
        p50_us, p99_us: of single calls, the medians over the rounds; 0 where there are none.
        cpu_to_native: CPU time of client and server together against the client's on the backing itself.
        requests: of one job, by opcode's name; empty where they were not traced.
    """

    peer: str
    kind: str
    problem: str
    wall_us: float = 0.0
    least_wall_us: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    client_cpu_us: float = 0.0
    server_cpu_us: float = 0.0
    server_kib: int = 0
    to_native: Ratio | None = None
    to_best: Ratio | None = None
    cpu_to_native: Ratio | None = None
    requests: dict[str, int]


class Table(msgspec.Struct, frozen=True):
    """One workload on one filesystem; `best` is the name of the best peer, empty where there is none."""

    filesystem: str
    workload: str
    title: str
    units: int
    best: str
    rows: list[Row]


Figure = Callable[[Measurement], float]


def tables(run: Run) -> list[Table]:
    """Everything that was measured, in the order in which it was."""
    found: dict[tuple[str, str], dict[str, list[Measurement]]] = {}
    for measurement in run.measurements:
        here = found.setdefault((measurement.filesystem, measurement.workload), {})
        here.setdefault(measurement.peer, []).append(measurement)
    kinds = {program.peer: program.kind for program in run.programs}
    told = {workload.name: workload for workload in run.workloads}
    return [
        _table(filesystem, told[name].title, name, told[name].units, by_peer, kinds)
        for (filesystem, name), by_peer in found.items()
    ]


def _table(
    filesystem: str,
    title: str,
    name: str,
    units: int,
    by_peer: dict[str, list[Measurement]],
    kinds: dict[str, str],
) -> Table:
    timed = {peer: _timed(rounds) for peer, rounds in by_peer.items() if not _problem(rounds)}
    peers = [peer for peer in timed if kinds[peer] == Kind.PEER and timed[peer]]
    best = min(peers, key=lambda peer: _median(_wall, timed[peer]), default="")
    rows = [
        _row(peer, kinds[peer], rounds, timed.get(NATIVE, []), timed.get(best, []))
        for peer, rounds in by_peer.items()
    ]
    return Table(filesystem, name, title, units, best, rows)


def _row(
    peer: str, kind: str, rounds: list[Measurement], native: list[Measurement], best: list[Measurement]
) -> Row:
    requests = next((one.requests for one in rounds if not one.round), {})
    problem, timed = _problem(rounds), _timed(rounds)
    if problem or not timed:
        return Row(peer=peer, kind=kind, problem=problem or "not timed", requests=requests)
    return Row(
        peer=peer,
        kind=kind,
        problem="",
        wall_us=_median(_wall, timed),
        least_wall_us=min(map(_wall, timed)),
        p50_us=_median(lambda one: one.p50_us, timed),
        p99_us=_median(lambda one: one.p99_us, timed),
        client_cpu_us=_median(lambda one: one.client_cpu_us, timed),
        server_cpu_us=_median(lambda one: one.server_cpu_us, timed),
        server_kib=max(one.server_kib for one in timed),
        to_native=_ratio(_wall, timed, native),
        to_best=_ratio(_wall, timed, best),
        cpu_to_native=_ratio(_cpu, timed, native),
        requests=requests,
    )


def _problem(rounds: list[Measurement]) -> str:
    """A peer that was wrong once has no figures."""
    return next(
        (f"{one.outcome.value}: {one.problem}" for one in rounds if one.outcome is not Outcome.OK), ""
    )


def _timed(rounds: Iterable[Measurement]) -> list[Measurement]:
    return [one for one in rounds if one.round]


def _wall(one: Measurement) -> float:
    return one.wall_us


def _cpu(one: Measurement) -> float:
    return one.client_cpu_us + one.server_cpu_us


def _median(figure: Figure, rounds: list[Measurement]) -> float:
    return statistics.median(figure(one) for one in rounds)


def _ratio(figure: Figure, these: list[Measurement], those: list[Measurement]) -> Ratio | None:
    """Round by round, because what else the machine does changes more slowly than a round takes."""
    other = {one.round: figure(one) for one in those}
    ratios = [figure(one) / other[one.round] for one in these if other.get(one.round)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None
