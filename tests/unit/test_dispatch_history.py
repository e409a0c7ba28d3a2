"""What a log was rotated to, by us and by logrotate: compressed, read all the same, told where it is gone."""

import gzip
import os
import stat
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from fusecopy.dispatch.compression import Compressor
from fusecopy.dispatch.reader import GONE, batches, current, follow, lines, read
from fusecopy.dispatch.records import Copy, Footer, Lost, Record
from fusecopy.dispatch.writer import Writer
from fusecopy.errors import LogError
from tests import samples

SHIPPED = Path(__file__).parents[2] / "contrib/fusecopy.logrotate"


def seqs(records: Iterable[Record]) -> list[int]:
    return [record.seq for record in records if isinstance(record, Copy)]


def write(path: Path, first: int, last: int, pid: int = 1, keep: int = 99) -> None:
    """Three records fit a file."""
    writer = Writer(path, samples.header(pid), max_bytes=2500, keep=keep)
    for seq in range(first, last + 1):
        writer.put(samples.copy(seq))
    writer.close()


def compress(path: Path) -> None:
    compressor = Compressor(path, threading.Lock())
    compressor.start()
    compressor.wait(20)


def test_all_that_was_rotated_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 1, 40, pid=1)
    write(path, 1, 40, pid=2)
    assert seqs(read(path)) == [*range(1, 41), *range(1, 41)]
    assert seqs(current(path)) == list(range(1, 41)), "its beginning is in a compressed file"
    assert next(line.text for line in lines(path)) == msgspec.json.encode(samples.header(1)) + b"\n"
    names = {entry.name for entry in tmp_path.iterdir()}
    assert {"log", "log.1", "log.2.gz", "log.10.gz"} <= names
    assert not [name for name in names if name not in ("log", "log.1") and not name.endswith(".gz")]


def test_what_is_compressed_keeps_mode_and_time(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.2"
    write(path, 1, 2)
    old.write_bytes(path.read_bytes())
    old.chmod(0o640)
    os.utime(old, (1, 1_000_000_000))
    compress(path)
    status = (tmp_path / "log.2.gz").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o640, 1_000_000_000)
    assert not old.exists()


def test_what_a_crash_left_is_read_once_and_finished(tmp_path: Path) -> None:
    """The compressed file is there, and the plain one still is; one more was begun."""
    path = tmp_path / "log"
    write(path, 1, 12)
    for number in (2, 3):
        packed = tmp_path / f"log.{number}.gz"
        (tmp_path / f"log.{number}").write_bytes(gzip.decompress(packed.read_bytes()))
    (tmp_path / "log.compressing").write_bytes(b"half")
    assert seqs(read(path)) == list(range(1, 13))
    compress(path)
    assert seqs(read(path)) == list(range(1, 13))
    assert not (tmp_path / "log.2").exists()
    assert not (tmp_path / "log.3").exists()


def test_two_different_files_of_one_number_both_stay(tmp_path: Path) -> None:
    """logrotate moves FILE.1.gz to FILE.2.gz and does not see FILE.2."""
    path = tmp_path / "log"
    write(path, 1, 12)
    other = tmp_path / "log.2"
    other.write_bytes(gzip.decompress((tmp_path / "log.3.gz").read_bytes()))
    (tmp_path / "log.3.gz").unlink()
    os.utime(other, (1, 1))
    compress(path)
    assert other.exists()
    assert seqs(read(path)) == list(range(1, 13))


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 1, 12)
    packed = tmp_path / "log.2.gz"
    whole = packed.read_bytes()
    for damaged in (whole[:-20], whole[:20] + bytes(20) + whole[40:], whole[:3]):
        packed.write_bytes(damaged)
        with pytest.raises(LogError, match=r"log\.2\.gz is damaged"):
            list(read(path))


def test_following_goes_on_where_its_file_was_compressed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER, max_bytes=2500)
    stop = threading.Event()
    followed = (record.seq for record in follow(path, stop) if isinstance(record, Copy))
    writer.put(samples.copy(1))
    assert writer.flush()
    assert next(followed) == 1
    for seq in range(2, 30):
        writer.put(samples.copy(seq))
    writer.close()
    assert (tmp_path / "log.4.gz").exists()
    stop.set()
    assert list(followed) == list(range(2, 30)), "nothing twice, nothing left out"


def test_reading_while_it_is_rotated_and_compressed(tmp_path: Path) -> None:
    """Whatever a reader meets, it is all records, in order, each once."""
    path = tmp_path / "log"
    write(path, 1, 30)
    writer = Writer(path, samples.header(1), max_bytes=2500, keep=500)

    def go_on() -> None:
        for seq in range(31, 150):
            writer.put(samples.copy(seq))
            if seq % 3 == 0:
                writer.flush()

    thread = threading.Thread(target=go_on)
    thread.start()
    passes = 0
    while thread.is_alive() or not passes:
        found = seqs(read(path))
        assert found == list(range(1, len(found) + 1))
        passes += 1
    thread.join()
    writer.close()
    assert seqs(read(path)) == list(range(1, 150))


def test_a_beginning_that_is_gone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 1, 40, keep=3)
    (first, *_) = list(batches(path))
    found = seqs(first)
    assert found[0] > 20
    assert first[1] == Lost(samples.header(1).time, found[0] - 1, GONE)
    write(path, 1, 2, pid=2)
    newest = [record for batch in batches(path, since_mount=True) for record in batch]
    assert Lost not in map(type, newest)


def test_a_beginning_that_is_there_is_not_told_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    for seq in (2, 1, 3):  # they are numbered before they are written, by several threads
        writer.put(samples.copy(seq))
    writer.close()
    kinds = [type(record) for batch in batches(path) for record in batch]
    assert kinds[-1] is Footer
    assert Lost not in kinds


def test_what_the_shipped_logrotate_file_makes_of_it(tmp_path: Path) -> None:
    """Together with our own rotation by size, which takes the same names."""
    directory = tmp_path / "fusecopy"
    directory.mkdir(mode=0o700)
    path, configuration = directory / "mnt.jsonl", tmp_path / "logrotate"
    configuration.write_text(SHIPPED.read_text().replace("/var/log/fusecopy", str(directory)))
    writer = Writer(path, samples.HEADER, max_bytes=2500)
    command = ["logrotate", "--force", "--state", str(tmp_path / "state"), str(configuration)]
    for round_ in range(6):
        for seq in range(round_ * 5 + 1, round_ * 5 + 6):
            writer.put(samples.copy(seq))
        assert writer.flush()
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        assert seqs(read(path)) == list(range(1, round_ * 5 + 6))
    writer.close()
    assert seqs(current(path)) == list(range(1, 31))
    assert [entry.name for entry in directory.iterdir() if entry.name.endswith(".gz")]
