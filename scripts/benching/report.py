"""The tables, as markdown."""

from collections.abc import Iterable, Sequence

from benching.peers import Kind
from benching.records import Run
from benching.summary import Ratio, Row, Table

BY_OPCODE = ("cp-one", "cp-few")
"""Workloads whose requests are told by opcode."""

SHORT = {
    "LOOKUP": "LK",
    "GETATTR": "GA",
    "SETATTR": "SA",
    "GETXATTR": "GX",
    "COPY_FILE_RANGE": "CFR",
    "COPY_FILE_RANGE_64": "CFR64",
    "READDIRPLUS": "RDP",
}


def markdown(run: Run, tables: Sequence[Table]) -> str:
    """The whole report."""
    parts = [
        _machine(run),
        *(_overview(name, tables) for name in _filesystems(tables)),
        *(_details(table) for table in tables),
        *(_opcodes(table) for table in tables if table.workload in BY_OPCODE and not run.untraced),
        _programs(run),
        _not_measured(run),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine(run: Run) -> str:
    known = ", ".join(f"{name} {value}" for name, value in run.machine.items())
    untraced = f"\n\nRequests were not counted: {run.untraced}" if run.untraced else ""
    return (
        f"{known}; {run.rounds} rounds. Ratios are medians of the ratios within each round, their least"
        " and most in brackets; of single calls wall is the mean; x nat is against the backing itself, x best"
        f" against the best peer.{untraced}"
    )


def _filesystems(tables: Iterable[Table]) -> list[str]:
    return list(dict.fromkeys(table.filesystem for table in tables))


def _overview(filesystem: str, tables: Iterable[Table]) -> str:
    """One line a workload: fusecopy, the first of its variants that takes part, and the best peer."""
    lines = [_overview_line(table) for table in tables if table.filesystem == filesystem]
    head = ("workload", "fusecopy", "wall", "x nat", "best peer", "wall", "x nat", "x best")
    return f"## {filesystem}\n\n" + _grid(head, lines)


def _overview_line(table: Table) -> tuple[str, ...]:
    timed = [row for row in table.rows if not row.problem]
    ours = next((row for row in timed if row.kind == Kind.OURS), None)
    best = next((row for row in timed if row.peer == table.best), None)
    return (
        table.title,
        *((ours.peer, _time(ours.wall_us), _ratio(ours.to_native)) if ours else ("-", "-", "-")),
        *((best.peer, _time(best.wall_us), _ratio(best.to_native)) if best else ("-", "-", "-")),
        _ratio(ours.to_best) if ours else "-",
    )


def _details(table: Table) -> str:
    head = (
        "",
        "wall",
        "least",
        "p50",
        "p99",
        "x nat",
        "x best",
        "CPU client",
        "server",
        "CPU x nat",
        "MiB",
        "requests",
    )
    lines = [_detail_line(row) for row in sorted(table.rows, key=_order)]
    return f"### {table.filesystem}: {table.title} (`{table.workload}`)\n\n" + _grid(head, lines)


def _order(row: Row) -> tuple[bool, float]:
    return bool(row.problem), row.wall_us


def _detail_line(row: Row) -> tuple[str, ...]:
    requests = str(sum(row.requests.values())) if row.requests else "-"
    if row.problem:
        return (_name(row), row.problem, *["-"] * 9, requests)
    return (
        _name(row),
        _time(row.wall_us),
        _time(row.least_wall_us),
        _time(row.p50_us) if row.p50_us else "-",
        _time(row.p99_us) if row.p99_us else "-",
        _ratio(row.to_native),
        _ratio(row.to_best),
        _time(row.client_cpu_us),
        _time(row.server_cpu_us) if row.kind != Kind.NATIVE else "-",
        _factor(row.cpu_to_native.median) if row.cpu_to_native else "-",
        f"{row.server_kib / 1024:.0f}" if row.server_kib else "-",
        requests,
    )


def _name(row: Row) -> str:
    return f"**{row.peer}**" if row.kind == Kind.OURS else row.peer


def _opcodes(table: Table) -> str:
    """Requests per file, one column for each opcode that anybody saw, the most frequent first."""
    traced = [row for row in table.rows if row.requests]
    totals: dict[str, int] = {}
    for row in traced:
        for name, number in row.requests.items():
            totals[name] = totals.get(name, 0) + number
    names = sorted(totals, key=lambda name: -totals[name])
    lines = [
        (
            _name(row),
            f"{sum(row.requests.values()) / table.units:.2f}",
            *(_per(row.requests.get(name, 0), table.units) for name in names),
        )
        for row in sorted(traced, key=lambda row: sum(row.requests.values()))
    ]
    title = f"### {table.filesystem}: requests per file, {table.title}"
    return f"{title}\n\n" + _grid(("", "sum", *(SHORT.get(name, name) for name in names)), lines)


def _per(number: int, units: int) -> str:
    if number / units < 0.005:
        return "<.01" if number else ""
    return f"{number / units:.2f}".rstrip("0").rstrip(".")


def _programs(run: Run) -> str:
    lines = [
        (one.peer, one.version, f"{one.idle_kib / 1024:.0f}" if one.idle_kib else "-") for one in run.programs
    ]
    return "### Programs\n\n" + _grid(("", "version", "MiB idle"), lines)


def _not_measured(run: Run) -> str:
    """One line for each peer and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in run.not_measured:
        found.setdefault((one.peer, one.reason), []).append(f"{one.filesystem}: {one.workload}")
    everything = len({(one.filesystem, one.workload) for one in run.measurements})
    lines = [
        (peer, "everything" if len(where) >= everything else ", ".join(where), reason)
        for (peer, reason), where in found.items()
    ]
    return "### Not measured\n\n" + _grid(("", "what", "why"), lines) if lines else ""


def _ratio(ratio: Ratio | None) -> str:
    if not ratio:
        return "-"
    median, least, most = (_factor(one) for one in (ratio.median, ratio.least, ratio.most))
    return median if least == most else f"{median} ({least}-{most})"


def _factor(ratio: float) -> str:
    if ratio < 0.1:
        return f"{ratio:.1g}"
    return f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def _time(microseconds: float) -> str:
    for limit, divisor, unit in ((1e3, 1, "us"), (1e6, 1e3, "ms")):
        if microseconds < limit:
            return f"{microseconds / divisor:.3g} {unit}"
    return f"{microseconds / 1e6:.3g} s"


def _grid(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *escaped))
