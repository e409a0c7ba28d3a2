"""The writer, on real files: order, rotation, threads, and files, directories and disks that fail."""

import gzip
import json
import logging
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fusecopy.dispatch.reader import current, read
from fusecopy.dispatch.records import Copy, Footer, Header, Lost, Policy, Record, Totals
from fusecopy.dispatch.writer import Writer
from fusecopy.errors import LogError
from fusecopy.reporting.reports import Reporter
from fusecopy.reporting.undispatched import Undispatched
from tests import samples


def _seqs(records: Iterator[Record]) -> list[int]:
    return [record.seq for record in records if isinstance(record, Copy)]


def _kinds(path: Path) -> list[str]:
    return [type(record).__name__ for record in read(path)]


def _write(path: Path, header: Header, seqs: range, **options: Any) -> None:
    writer = Writer(path, header, **options)
    for seq in seqs:
        writer.put(samples.copy(seq))
    writer.close()


class _Reports(logging.Handler):
    """What the writer tells the operator, and an event for the first error."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[str] = []
        self.failed = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.levels.append(record.levelname)
        self.failed.set()


@pytest.fixture
def reports() -> Iterator[_Reports]:
    handler = _Reports()
    logger = logging.getLogger("fusecopy.dispatch.writer")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True, timeout=10)
    yield place
    subprocess.run(["umount", place], check=True, timeout=10)


def test_what_is_put_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log"
    copy, policy = (
        samples.copy(1, errno="EXDEV", shared=None),
        Policy("2026-03-01T06:50:00.000+01:00", 0, "splice"),
    )
    writer = Writer(path, samples.HEADER)
    writer.put(copy)
    writer.put(policy)
    writer.close()
    header, first, second, footer = read(path)
    assert (header, first, second) == (samples.HEADER, copy, policy)
    assert isinstance(footer, Footer)
    assert footer.totals == Totals({"dispatched": 1}, {"dispatched": 4096}, shared=0, rewritten=0)
    assert footer.lost == 0


def test_file_is_private_and_descriptor_closed(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    _write(tmp_path / "log", samples.HEADER, range(1, 3))
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_totals_are_readable_while_writing(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", samples.HEADER)
    writer.put(samples.copy(1))
    writer.put(samples.copy(2, dispatch="fallback", copied=100, shared=0, rewritten=100))
    assert writer.totals == Totals(
        {"dispatched": 1, "fallback": 1}, {"dispatched": 4096, "fallback": 100}, 4096, 100
    )
    writer.close()


def test_flush_means_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", samples.HEADER)
    for seq in range(1, 4):
        writer.put(samples.copy(seq))
        assert writer.flush()
        assert _seqs(read(tmp_path / "log")) == list(range(1, seq + 1))
    writer.close()


def test_put_from_several_threads(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", samples.HEADER, limit=10_000)
    numbers = count(1)

    def work() -> None:
        for _ in range(500):
            writer.put(samples.copy(next(numbers)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert sorted(_seqs(read(tmp_path / "log"))) == list(range(1, 3001))
    assert writer.lost == 0


def test_signal_handler_may_interrupt_put(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", samples.HEADER, limit=100_000)
    before = signal.signal(signal.SIGALRM, lambda *_: writer.reopen())
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for seq in range(1, 20_001):
            writer.put(samples.copy(seq))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    writer.close(timeout=30)
    assert _seqs(current(tmp_path / "log")) == list(range(1, 20_001))


def test_rotation_keeps_order_and_header(tmp_path: Path) -> None:
    path = tmp_path / "log"
    _write(path, samples.HEADER, range(1, 41), max_bytes=4096, keep=3)
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2.gz", "log.3.gz"]
    for name in names:
        data = (tmp_path / name).read_bytes()
        data = gzip.decompress(data) if name.endswith(".gz") else data
        assert len(data) <= 4096
        assert json.loads(data.splitlines()[0])["type"] == "header"
        assert data.endswith(b"}\n")
    seqs = _seqs(read(path))
    assert seqs == list(range(seqs[0], 41))
    assert 1 < seqs[0] < 30


def test_reopen_makes_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    path.rename(tmp_path / "elsewhere")
    writer.reopen()
    assert writer.flush()
    assert list(read(path)) == [samples.HEADER]
    writer.close()
    assert _kinds(tmp_path / "elsewhere") == ["Header"]


def _take_away(path: Path, how: str) -> None:
    if how == "renamed":
        path.rename(path.with_name("elsewhere"))
    elif how == "removed":
        path.unlink()
    else:
        os.truncate(path, 0)


@pytest.mark.parametrize("how", ["renamed", "removed", "emptied"])
def test_file_taken_away_is_begun_again(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(samples.copy(1))
    assert writer.flush()
    _take_away(path, how)
    writer.put(samples.copy(2))
    writer.close()
    assert _kinds(path) == ["Header", "Copy", "Footer"]
    assert _seqs(read(path)) == [2]


def test_directory_gone_and_back_loses_only_what_the_queue_cannot_hold(
    tmp_path: Path, reports: _Reports
) -> None:
    path = tmp_path / "logs" / "log"
    writer = Writer(path, samples.HEADER, limit=4)
    path.parent.rename(tmp_path / "away")
    writer.put(samples.copy(1))
    assert reports.failed.wait(10), "the thread never tried"
    for seq in range(2, 9):
        writer.put(samples.copy(seq))  # 2 to 5 fit
    assert writer.lost == 3
    (tmp_path / "away").rename(path.parent)
    assert writer.flush(timeout=20)
    writer.put(samples.copy(9))
    writer.close()
    events = [record for record in read(path) if not isinstance(record, Header)]
    assert [record.seq if isinstance(record, Copy) else type(record) for record in events] == [
        *(1, 2, 3, 4, 5),
        Lost,
        9,
        Footer,
    ]
    assert [record.count for record in events if isinstance(record, Lost)] == [3]
    assert isinstance(events[-1], Footer)
    assert events[-1].lost == 3
    assert events[-1].totals.copies == {"dispatched": 9}
    assert reports.levels == ["ERROR", "WARNING"]


@pytest.mark.root
def test_full_disk_is_survived(small_disk: Path, reports: _Reports) -> None:
    path = small_disk / "log"
    ballast = small_disk / "ballast"
    writer = Writer(path, samples.HEADER)
    with pytest.raises(OSError, match="No space left"):
        ballast.write_bytes(bytes(1 << 20))
    for seq in range(1, 101):  # more than the page that the log has
        writer.put(samples.copy(seq))
    assert reports.failed.wait(10), "the disk never filled"
    ballast.unlink()
    assert writer.flush(timeout=20)
    writer.close()
    assert _seqs(current(path)) == list(range(1, 101))
    assert path.read_bytes().count(b'{"type":"copy"') == 101, "one line was cut and written again"
    assert writer.lost == 0
    assert reports.levels == ["ERROR", "WARNING"]


@pytest.mark.root
def test_what_a_full_disk_cut_is_lost_and_the_rest_is_not(small_disk: Path, reports: _Reports) -> None:
    """Some of what is written together is whole in the file, and is neither written again nor lost."""
    path = small_disk / "log"
    writer = Writer(path, samples.HEADER)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(1 << 20))
    for seq in range(1, 101):
        writer.put(samples.copy(seq))
    assert reports.failed.wait(10), "the disk never filled"
    writer.close(timeout=20)
    kept = _seqs(read(path))
    assert kept == list(range(1, len(kept) + 1))
    assert 0 < len(kept) < 100
    assert writer.lost == 100 - len(kept)


def test_records_are_written_together(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log", samples.HEADER)
    before = _writes()
    for seq in range(1, 1001):
        writer.put(samples.copy(seq))
    writer.close()
    assert _writes() - before < 100
    assert _seqs(read(tmp_path / "log")) == list(range(1, 1001))


def _writes() -> int:
    """System calls of this process that wrote something."""
    words = Path("/proc/self/io").read_text().split()
    return int(words[words.index("syscw:") + 1])


def test_room_is_waited_for(tmp_path: Path, reports: _Reports) -> None:
    path = tmp_path / "logs" / "log"
    writer = Writer(path, samples.HEADER, limit=4)
    assert writer.await_room(0)
    path.parent.rename(tmp_path / "away")
    writer.put(samples.copy(1))
    assert reports.failed.wait(10), "the thread never tried"
    writer.put(samples.copy(2))
    assert writer.await_room(0)
    writer.put(samples.copy(3))
    assert not writer.await_room(0.01), "half of the queue is in use and nothing can be written"
    (tmp_path / "away").rename(path.parent)
    assert writer.await_room(20)
    writer.close()
    assert _seqs(current(path)) == [1, 2, 3]


def test_close_gives_up_on_a_dead_directory(tmp_path: Path, reports: _Reports) -> None:
    path = tmp_path / "logs" / "log"
    writer = Writer(path, samples.HEADER)
    path.parent.rename(tmp_path / "away")
    for seq in range(1, 4):
        writer.put(samples.copy(seq))
    writer.close()
    assert writer.lost == 3
    assert reports.levels == ["ERROR"]
    writer.put(samples.copy(4))
    assert writer.lost == 4
    assert _kinds(tmp_path / "away" / "log") == ["Header"]


def test_record_that_json_cannot_hold_is_counted(tmp_path: Path, reports: _Reports) -> None:
    writer = Writer(tmp_path / "log", samples.HEADER)
    writer.put(samples.copy(1, comm="\udcff"))
    writer.put(samples.copy(2))
    writer.close()
    assert _kinds(tmp_path / "log") == ["Header", "Lost", "Copy", "Footer"]
    assert writer.lost == 1
    assert reports.levels == ["ERROR"]


def test_writer_goes_on_after_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    _write(path, samples.header(1), range(1, 3))
    with path.open("ab") as file:
        file.write(b'{"type":"copy","seq":3,"ti')
    assert _seqs(read(path)) == [1, 2]
    _write(path, samples.header(2), range(1, 2))
    assert _seqs(read(path)) == [1, 2, 1]
    assert _seqs(current(path)) == [1]


@pytest.mark.parametrize("where", ["directory", "fifo", "unwritable"])
def test_writer_refuses_what_cannot_be_a_log(tmp_path: Path, where: str) -> None:
    path = tmp_path / "log"
    if where == "directory":
        path.mkdir()
    elif where == "fifo":
        os.mkfifo(path)
    else:
        path = Path("/proc/self/nowhere/log")
    with pytest.raises(LogError, match=f"{path}: the dispatch log cannot be written"):
        Writer(path, samples.HEADER)


def test_a_record_that_could_not_be_made_counts_as_lost_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(tmp_path / "log", samples.HEADER)
    reporter = Reporter(writer.put, Undispatched())
    with reporter.counting_loss():
        raise ValueError("of whatever kind")
    with reporter.counting_loss():
        writer.put(samples.copy(1))
    writer.close()
    events = list(read(tmp_path / "log"))
    lost = [record for record in events if isinstance(record, Lost)]
    assert [(record.count, record.why) for record in lost] == [(1, "ValueError: of whatever kind")]
    assert isinstance(events[-1], Footer)
    assert events[-1].lost == writer.lost == 1
    assert "a record was lost" in caplog.text
