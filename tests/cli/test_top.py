"""fusecopy top: what it shows and counts, by Textual's own pilot and in a terminal."""

import asyncio
import os
import pty
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from fusecopy.dispatch.records import Record
from fusecopy.dispatch.selection import EVERYTHING, Selection
from fusecopy.dispatch.writer import Writer
from fusecopy.views.live import KEPT
from fusecopy.views.top import Story, Top, columns
from tests import samples
from tests.cli.logged import BYPASSED, EVENTS, FALLBACK, FLOW, REFUSED, read_until, write
from tests.mounted import FUSECOPY

SECONDS = 30

Scene = Callable[["Seen"], Awaitable[None]]


class Seen:
    """The program under its pilot."""

    def __init__(self, pilot: "Pilot[None]") -> None:
        assert isinstance(pilot.app, Top)
        self.pilot, self.top = pilot, pilot.app

    async def until(self, holds: Callable[[], bool]) -> None:
        """Go on until something holds."""
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, self.rows()
            await self.pilot.pause(0.05)

    def table(self) -> "DataTable[object]":
        return self.top.query_one(DataTable)

    def rows(self) -> list[list[str]]:
        return [list(map(str, self.table().get_row_at(at))) for at in range(self.table().row_count)]

    def files(self) -> list[str]:
        return [row[-1] for row in self.rows()]

    def counted(self) -> int:
        return self.top.live.summary.total.copies


def play(logs: Sequence[Path], scene: Scene, width: int = 120, selection: Selection = EVERYTHING) -> None:
    async def run() -> None:
        top = Top(logs, selection)
        async with top.run_test(size=(width, 40)) as pilot:
            await scene(Seen(pilot))

    asyncio.run(run())


def log_of(path: Path, count: int) -> Path:
    return write(path, [samples.copy(number, dst=f"f{number}") for number in range(1, count + 1)])


def test_rows_and_sums(tmp_path: Path) -> None:
    async def scene(seen: Seen) -> None:
        await seen.until(lambda: seen.table().row_count == 5)
        assert {row[-1] for row in seen.rows()} == {"b", "x1", "py1", "out", r"new\n\x1b[31mline"}
        sums = str(seen.top.query_one("#sums", Static).render())
        assert "fallback   kernel-splice" in sums
        assert "total" in sums
        assert "1 flows" in sums or "1 flow" in sums

    play([write(tmp_path / "log", EVENTS)], scene)


def test_many_logs_are_summed_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    async def scene(seen: Seen) -> None:
        await seen.until(lambda: seen.counted() == 2 * 700)
        await seen.until(lambda: seen.table().row_count == KEPT)

    play([log_of(tmp_path / "one", 700), log_of(tmp_path / "other", 700)], scene)


def test_what_comes_is_shown_and_while_it_is_held_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)

    async def scene(seen: Seen) -> None:
        writer.put(samples.copy(1, dst="first"))
        await seen.until(lambda: seen.files() == ["first"])
        await seen.pilot.press("p")
        writer.put(samples.copy(2, dst="second"))
        await seen.until(lambda: seen.counted() == 2)
        assert seen.files() == ["first"]
        await seen.pilot.press("p")
        assert seen.files() == ["second", "first"]

    play([path], scene)
    writer.close()


def test_sorted_and_filtered(tmp_path: Path) -> None:
    change = msgspec.structs.replace
    stored: list[Record] = [
        change(FALLBACK, mono_ns=3),
        change(REFUSED, mono_ns=2),
        change(BYPASSED, mono_ns=1),
    ]

    async def scene(seen: Seen) -> None:
        await seen.until(lambda: seen.table().row_count == 3)
        assert seen.files()[0] == "x1"
        await seen.pilot.press("f")
        assert [row[3] for row in seen.rows()] == ["fallback", "refused"]
        await seen.pilot.press("f", "s")
        assert seen.top.order == "largest"
        assert seen.files() == ["x1", "py1", r"new\n\x1b[31mline"]

    play([write(tmp_path / "log", stored)], scene)


def test_a_copy_is_opened_and_closed(tmp_path: Path) -> None:
    async def scene(seen: Seen) -> None:
        await seen.until(lambda: seen.table().row_count == 1)
        for key in ("o", "enter"):
            await seen.pilot.press(key)
            assert isinstance(seen.top.screen, Story)
            told = str(seen.top.screen.query_one(Static).render())
            assert "EXDEV: The source lies on another filesystem." in told
            assert "Copy both to one filesystem first" in told
            await seen.pilot.press("escape")
            assert not isinstance(seen.top.screen, Story)

    play([write(tmp_path / "log", [REFUSED])], scene)


def test_a_flow_is_opened(tmp_path: Path) -> None:
    async def scene(seen: Seen) -> None:
        await seen.until(lambda: seen.table().row_count == 1)
        await seen.pilot.press("o")
        assert "Not known to be a copy" in str(seen.top.screen.query_one(Static).render())

    play([write(tmp_path / "log", [FLOW])], scene)


def test_only_what_is_chosen(tmp_path: Path) -> None:
    async def scene(seen: Seen) -> None:
        await seen.until(lambda: seen.counted() == 1)
        assert seen.files() == ["x1"]

    play([write(tmp_path / "log", EVENTS)], scene, selection=Selection(dispatches=frozenset(["fallback"])))


def test_markup_in_names_is_text(tmp_path: Path) -> None:
    async def scene(seen: Seen) -> None:
        await seen.until(lambda: seen.table().row_count == 1)
        assert seen.files() == ["[red]x[/red]"]
        await seen.pilot.press("o")
        assert "[red]x[/red]" in str(seen.top.screen.query_one(Static).render())

    play([write(tmp_path / "log", [samples.copy(1, dst="[red]x[/red]")])], scene)


def test_a_log_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("notes\n")

    async def scene(seen: Seen) -> None:
        await seen.until(lambda: bool(seen.top._notifications))
        (said,) = seen.top._notifications
        assert "is not a dispatch log" in said.message

    play([tmp_path / "log"], scene)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_columns_fit(tmp_path: Path, width: int) -> None:
    shown = columns(width)
    assert sum(wide + 2 for wide in shown.values()) <= width
    assert shown["FILE"] >= 20


def test_many_a_second_are_all_counted(tmp_path: Path) -> None:
    path, count = tmp_path / "log", 10_000
    writer = Writer(path, samples.HEADER, limit=count + 1)

    async def scene(seen: Seen) -> None:
        for number in range(1, count + 1):
            writer.put(samples.copy(number))
        await seen.until(lambda: seen.counted() == count)
        assert seen.top.live.summary.lost == 0

    play([path], scene)
    writer.close()


def test_in_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [FUSECOPY, "top", "--all", log_of(tmp_path / "log", 3)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        read_until(ours, "f3")
        os.write(ours, b"q")
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait(SECONDS)
        os.close(ours)


def test_without_a_terminal_it_says_what_to_use() -> None:
    done = subprocess.run([FUSECOPY, "top"], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 2
    assert "fusecopy log -F" in done.stderr


def test_without_textual_it_says_how_to_have_it(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['textual'] = None; sys.stdout.isatty = lambda: True\n"
        "from fusecopy.cli.commands import main; main(['top', sys.argv[1]])"
    )
    log = log_of(tmp_path / "log", 1)
    done = subprocess.run(
        [sys.executable, "-c", program, log], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 1
    assert "pip install 'fusecopy[top]'" in done.stderr
