"""fusecopy top: copies as they happen, in a terminal (Textual)."""

import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Sparkline, Static

from fusecopy.dispatch.reader import batches
from fusecopy.dispatch.records import Copy, Flow, Record
from fusecopy.dispatch.selection import Selection
from fusecopy.errors import LogError
from fusecopy.explaining.evidence import Evidence
from fusecopy.explaining.story import tell
from fusecopy.terminal import printable, said_of
from fusecopy.views.format import Column, duration, header, middle_cut, percent, rate, size
from fusecopy.views.format import row as table_row
from fusecopy.views.live import ORDERS, Live, Row, bytes_of
from fusecopy.views.table import COLOURS, LEAST_NAME, NARROW, why

REFRESH_SECONDS = 0.5

RATE_SECONDS = 10
"""Over which copies a second are averaged."""

WIDTHS = {"TIME": 8, "COMM": 10, "SIZE": 5, "DISPATCH": 10, "PATH": 15, "SHARED": 6, "TOOK": 5}
"""Columns before FILE, which has the rest, and their characters."""

LEFT_OUT = ("TIME", "SHARED")
"""On a terminal of fewer columns than NARROW."""

PADDING = 2
SCROLLBAR = 2

SUMS = [
    Column("DISPATCH   PATH", 26),
    Column("COPIES", 8, number=True),
    Column("BYTES", 5, number=True),
    Column("SHARED", 6, number=True),
    Column("REWRITTEN", 9, number=True),
    Column("TOOK", 5, number=True),
    Column("RATE", 7, number=True),
]

MOST_SUMS = 5
LABEL = 10


class Story(ModalScreen[None]):
    """One copy, as `fusecopy explain` tells it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "back")]
    DEFAULT_CSS = """
    Story { align: center middle; }
    Story > VerticalScroll { width: 90%; max-width: 100; height: auto; max-height: 80%; padding: 1 2; }
    Story > VerticalScroll { border: round $primary; background: $surface; }
    """

    def __init__(self, row: Row) -> None:
        super().__init__()
        self._row = row

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static("\n".join(story(self._row)), markup=False)
        yield Footer()


class Top(App[None]):
    """Follows logs, each by a thread of its own.

    Args:
        logs: their files.
        selection: what is wanted of them.
        since_mount: from the newest mount's beginning; else from now on.
    """

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p,space", "pause", "pause"),
        Binding("s", "order", "sort"),
        Binding("f", "failures", "failures only"),
        Binding("o", "open", "open"),  # as Enter does, which the table takes itself
        Binding("q", "quit", "quit"),
    ]
    CSS = """
    #sums { height: auto; padding: 0 1; }
    #rate { height: 2; }
    #rate Static { width: 24; padding: 0 1; }
    #rate Sparkline { width: 1fr; height: 2; }
    DataTable { height: 1fr; }
    """

    def __init__(self, logs: Sequence[Path], selection: Selection) -> None:
        super().__init__()
        self.live = Live()
        self.paused = False
        self.failures = False
        self.order = next(iter(ORDERS))
        self._logs = logs
        self._selection = selection
        self._stop = threading.Event()
        self._came: SimpleQueue[list[Record] | LogError] = SimpleQueue()
        self._shown: list[Row] = []
        self._widths: dict[str, int] = {}
        self._threads = [threading.Thread(target=self._follow, args=[log], daemon=True) for log in logs]

    def compose(self) -> ComposeResult:
        yield Static(id="sums", markup=False)
        with Horizontal(id="rate"):
            yield Static(id="speed", markup=False)
            yield Sparkline([0])
        yield DataTable[Text](cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        for thread in self._threads:
            thread.start()
        self.set_interval(REFRESH_SECONDS, self.take_in)

    def on_resize(self) -> None:
        """Begin the table anew, as the terminal has room now."""
        widths = columns(self.size.width)
        table = self.query_one(DataTable)
        table.clear(columns=True)
        for title, width in widths.items():
            table.add_column(title, width=width)
        self._widths = widths
        self._show_rows()

    def on_unmount(self) -> None:
        self._stop.set()

    def take_in(self) -> None:
        """Count all that came, also while the picture is paused, and draw it."""
        changed = False
        while not self._came.empty():
            came = self._came.get()
            if isinstance(came, LogError):
                self.notify(
                    "\n".join(map(printable, said_of(came))), severity="error", timeout=30, markup=False
                )
                continue
            self.live.add_all(came)
            changed = True
        if not self.paused:
            self._show_sums()
            if changed:
                self._show_rows()

    def action_pause(self) -> None:
        """Hold the picture; what comes meanwhile is counted."""
        self.paused = not self.paused
        self._show_sums()
        if not self.paused:
            self._show_rows()

    def action_order(self) -> None:
        """Sort by the next of ORDERS."""
        names = list(ORDERS)
        self.order = names[(names.index(self.order) + 1) % len(names)]
        self._show_sums()
        self._show_rows()

    def action_failures(self) -> None:
        """Show only what fell back or was refused, or all again."""
        self.failures = not self.failures
        self._show_sums()
        self._show_rows()

    def action_open(self) -> None:
        """Tell the story of the row that the cursor is on."""
        at = self.query_one(DataTable).cursor_row
        if 0 <= at < len(self._shown):
            self.push_screen(Story(self._shown[at]))

    def on_data_table_row_selected(self) -> None:
        """Enter or a click."""
        self.action_open()

    def _follow(self, log: Path) -> None:
        try:
            for records in batches(log, since_mount=True, stop=self._stop):
                if chosen := self._selection.of(records):
                    self._came.put(chosen)
        except LogError as error:
            self._came.put(error)

    def _show_sums(self) -> None:
        self.query_one("#sums", Static).update("\n".join(sums(self.live)))
        rates = self.live.rates()
        speed = sum(rates[-RATE_SECONDS - 1 : -1]) / RATE_SECONDS
        state = "paused" if self.paused else f"by {self.order}" + ", failures" * self.failures
        self.query_one("#speed", Static).update(f"{speed:.1f} copies/s\n{state}")
        self.query_one(Sparkline).data = [float(count) for count in rates]

    def _show_rows(self) -> None:
        table = self.query_one(DataTable)
        at = table.cursor_row
        self._shown = [row for row in self.live.ordered(self.order) if not self.failures or _failed(row)]
        table.clear()
        table.add_rows(cells(row, self._widths) for row in self._shown)
        table.move_cursor(row=min(at, max(0, len(self._shown) - 1)), scroll=False)


def _failed(row: Row) -> bool:
    return row.dispatch in ("fallback", "refused") if isinstance(row, Copy) else row.errno is not None


def sums(live: Live) -> list[str]:
    """A line for each dispatch and path, the largest first, and one for all."""
    paths = sorted(live.summary.by_path.items(), key=lambda item: -item[1].copied)[:MOST_SUMS]
    groups = {f"{dispatch:10} {path}": group for (dispatch, path), group in paths}
    lines = [header(SUMS)]
    for name, group in {**groups, "total": live.summary.total}.items():
        texts = [
            str(group.copies),
            size(group.copied),
            percent(group.shared, group.copied),
            size(group.rewritten),
            duration(group.duration_us),
            rate(group.copied, group.duration_us),
        ]
        lines.append(table_row(SUMS, [name, *texts]))
    if live.summary.flows:
        lines.append(f"{live.summary.flows} flows of writes with no source in the mount")
    if live.summary.lost:
        lines.append(f"{live.summary.lost} records were lost and are not in these sums")
    return lines


def columns(width: int) -> dict[str, int]:
    """The columns that a terminal so wide has room for, and their widths."""
    shown = {title: wide for title, wide in WIDTHS.items() if width >= NARROW or title not in LEFT_OUT}
    taken = sum(shown.values()) + PADDING * (len(shown) + 1) + SCROLLBAR
    return {**shown, "FILE": max(LEAST_NAME, width - taken)}


def cells(row: Row, widths: dict[str, int]) -> list[Text]:
    """A row of the table; no markup is seen in names."""
    dispatch, path, shared = "-", "client" if isinstance(row, Flow) else "tree", "-"
    if isinstance(row, Copy):
        dispatch, path = row.dispatch, row.path
        known = row.copied is not None and (row.shared is not None or not row.copied)
        shared = percent(row.shared or 0, (row.copied or 0) - row.holes) if known else "?"
    texts = {
        "TIME": row.time[11:19],
        "COMM": row.comm,
        "SIZE": size(bytes_of(row)).rjust(WIDTHS["SIZE"]),
        "DISPATCH": dispatch,
        "PATH": path,
        "SHARED": shared.rjust(WIDTHS["SHARED"]),
        "TOOK": duration(row.duration_us).rjust(WIDTHS["TOOK"]),
        "FILE": middle_cut(row.dst, widths.get("FILE", LEAST_NAME)),
    }
    colour = COLOURS.get(dispatch, "")
    return [Text(printable(texts[title])[:width], style=colour) for title, width in widths.items()]


def story(row: Row) -> list[str]:
    """What is known of it, by its record alone."""
    if not isinstance(row, Copy):
        told = [f"{row.comm}, pid {row.pid}, user {row.uid}: {row.dst}", "Not known to be a copy.", *why(row)]
        return [printable(line) for line in told]
    evidence = Evidence("", "", [None] * len(row.attempts), None)
    lines = [line for line in tell(row, evidence) if line.label not in ("now", "  source", "  dest.")]
    return [printable(f"{line.label:{LABEL}} {line.text}") for line in lines]
