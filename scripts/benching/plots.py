"""Pictures of the ratios, where matplotlib is installed (the extra `bench`)."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benching.summary import Row, Table


def draw(tables: Sequence[Table], out: Path) -> list[Path]:
    """One picture for each filesystem, as SVG and PNG in `out`; none without matplotlib."""
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        return []
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    drawn = []
    for filesystem in dict.fromkeys(table.filesystem for table in tables):
        figure = _figure(pyplot, [table for table in tables if table.filesystem == filesystem])
        for suffix in ("svg", "png"):
            drawn.append(out / f"{filesystem}.{suffix}")
            figure.savefig(drawn[-1], dpi=120)
        pyplot.close(figure)
    return drawn


def _figure(pyplot: Any, tables: Sequence[Table]) -> Any:
    """A panel for each workload: wall time against native, logarithmic, a bar for each peer."""
    columns = 3
    lines = -(-len(tables) // columns)
    figure, panels = pyplot.subplots(lines, columns, figsize=(18, 4 * lines), squeeze=False)
    for panel in panels.flat[len(tables) :]:
        panel.set_visible(False)
    for panel, table in zip(panels.flat, tables, strict=False):
        _panel(panel, table)
    figure.tight_layout()
    return figure


def _panel(panel: Any, table: Table) -> None:
    rows = [row for row in table.rows if row.to_native]
    rows.sort(key=lambda row: row.wall_us, reverse=True)
    panel.barh(
        [row.peer for row in rows],
        [row.to_native.median if row.to_native else 0 for row in rows],
        xerr=[_spread(row) for row in rows] and list(zip(*map(_spread, rows), strict=True)),
        color=[{"ours": "tab:blue", "native": "tab:green"}.get(row.kind, "tab:gray") for row in rows],
    )
    panel.set_xscale("log")
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_title(f"{table.filesystem}: {table.title}", fontsize=9)
    panel.tick_params(labelsize=8)
    panel.set_xlabel("wall time, native = 1", fontsize=8)


def _spread(row: Row) -> tuple[float, float]:
    """How far the least and the most lie from the median."""
    ratio = row.to_native
    return (ratio.median - ratio.least, ratio.most - ratio.median) if ratio else (0.0, 0.0)
