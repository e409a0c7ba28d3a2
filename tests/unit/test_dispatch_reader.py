"""The reader, on real files: mounts, rotations, damage, and following."""

import errno
import json
import os
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fusecopy.dispatch.part import BLOCK_BYTES
from fusecopy.dispatch.reader import batches, current, follow, lines, read
from fusecopy.dispatch.records import Copy, Header, Record
from fusecopy.dispatch.writer import Writer
from fusecopy.errors import LogError
from tests import samples


def _seqs(records: Iterator[Record]) -> list[int]:
    return [record.seq for record in records if isinstance(record, Copy)]


def _write(path: Path, header: Header, seqs: range, **options: Any) -> None:
    writer = Writer(path, header, **options)
    for seq in seqs:
        writer.put(samples.copy(seq))
    writer.close()


def _take_away(path: Path, how: str) -> None:
    if how == "renamed":
        path.rename(path.with_name("elsewhere"))
    elif how == "removed":
        path.unlink()
    else:
        os.truncate(path, 0)


def test_current_begins_with_the_newest_mount_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "log"
    _write(path, samples.header(1), range(1, 6), max_bytes=4096)
    _write(path, samples.header(2), range(1, 16), max_bytes=4096)
    assert (tmp_path / "log.2.gz").exists()
    assert _seqs(read(path)) == [*range(1, 6), *range(1, 16)]
    assert _seqs(current(path)) == list(range(1, 16))
    assert {record.pid for record in current(path) if isinstance(record, Header)} == {2}


@pytest.mark.parametrize("rotations", [[], ["log.1"], ["log.1", "log.2"]])
def test_header_written_again_is_no_new_mount(tmp_path: Path, rotations: list[str]) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(samples.copy(1))
    for number, _ in enumerate(rotations, start=2):
        assert writer.flush()
        if (tmp_path / "log.1").exists():
            (tmp_path / "log.1").rename(tmp_path / "log.2")
        path.rename(tmp_path / "log.1")
        writer.reopen()
        writer.put(samples.copy(number))
    writer.reopen()
    writer.close()
    assert _seqs(current(path)) == list(range(1, len(rotations) + 2))


def test_unknown_fields_and_records_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    copy = json.loads(msgspec.json.encode(samples.copy(1)))
    stored = [
        msgspec.json.encode(samples.HEADER),
        json.dumps({"type": "weather", "rain": True}).encode(),
        json.dumps({**copy, "colour": "blue"}).encode(),
        b"\xff\xfe not JSON",
        b"[]",
    ]
    path.write_bytes(b"\n".join(stored) + b"\n")
    assert list(read(path)) == [samples.HEADER, samples.copy(1)]
    assert [line.text for line in lines(path)] == [stored[0] + b"\n", stored[2] + b"\n"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (msgspec.json.encode(msgspec.structs.replace(samples.HEADER, schema=2)) + b"\n", "is of schema 2"),
        (b'{"type":"header","schema":7,"when":"now"}\n', "is of schema 7"),
        (b"root:x:0:0\n", "is not a dispatch log"),
        (bytes(17 << 20), "is not a dispatch log"),
    ],
    ids=["newer", "much newer", "text", "no lines"],
)
def test_what_is_no_log_of_ours_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(LogError, match=message):
        list(read(path))
    with pytest.raises(LogError, match=message):
        list(current(path))


def test_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="there is no such dispatch log"):
        list(read(tmp_path / "log"))


def test_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=os.strerror(errno.EISDIR)):
        list(read(tmp_path))


def test_follow_yields_what_comes_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER, max_bytes=2048, keep=9)
    stop = threading.Event()
    followed = (record.seq for record in follow(path, stop) if isinstance(record, Copy))
    numbers = count(1)
    for batch in (1, 1, 5, 1, 7, 8):  # some end within a file, some begin several
        expected = [next(numbers) for _ in range(batch)]
        for seq in expected:
            writer.put(samples.copy(seq))
        assert writer.flush()
        assert [next(followed) for _ in range(batch)] == expected
    assert list(tmp_path.glob("log.5*")), "it was rotated that often"
    stop.set()
    assert list(followed) == []
    writer.close()


def test_follow_goes_on_when_its_file_was_rotated_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER, max_bytes=2240, keep=1)
    stop = threading.Event()
    followed = (record.seq for record in follow(path, stop) if isinstance(record, Copy))
    writer.put(samples.copy(1))
    assert writer.flush()
    assert next(followed) == 1
    for seq in range(2, 21):  # three fit a file
        writer.put(samples.copy(seq))
    assert writer.flush()
    kept = _seqs(read(path))
    assert kept[0] > 4
    stop.set()
    assert list(followed) == [2, 3, *kept], "the rest of its own file, then all that is left"
    writer.close()


@pytest.mark.parametrize("how", ["renamed", "removed", "emptied"])
def test_follow_goes_on_in_a_file_begun_again(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    stop = threading.Event()
    followed = (record.seq for record in follow(path, stop) if isinstance(record, Copy))
    for seq in (1, 2, 3):
        writer.put(samples.copy(seq))
    assert writer.flush()
    assert [next(followed) for _ in range(3)] == [1, 2, 3]
    _take_away(path, how)
    writer.put(samples.copy(4))
    assert writer.flush()
    assert next(followed) == 4
    stop.set()
    writer.close()


def test_follow_waits_for_the_rest_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = msgspec.json.encode(samples.copy(1)) + b"\n"
    path.write_bytes(msgspec.json.encode(samples.HEADER) + b"\n" + whole[:50])
    stop = threading.Event()
    followed = follow(path, stop)
    assert next(followed) == samples.HEADER
    late = threading.Timer(0.25, lambda: os.write(descriptor, whole[50:]))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    late.start()
    assert next(followed) == samples.copy(1)
    late.join()
    os.close(descriptor)


def test_follow_ends_when_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    _write(path, samples.HEADER, range(1, 3))
    stop = threading.Event()
    stop.set()
    assert [type(record).__name__ for record in follow(path, stop)] == ["Header", "Copy", "Copy", "Footer"]


def test_reading_holds_no_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "log"
    _write(path, samples.HEADER, range(1, 30), max_bytes=2048)
    before = sorted(os.listdir("/proc/self/fd"))
    assert next(read(path)) == samples.HEADER
    list(current(path))
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_newest_mount_is_found_behind_long_lines_and_many_blocks(tmp_path: Path) -> None:
    log = tmp_path / "log"
    encode = msgspec.json.encode
    old, new = samples.header(1), samples.header(2)
    filler = encode(samples.copy(1, src="x" * 3000)) + b"\n"
    fillers = 3 * BLOCK_BYTES // len(filler)
    with log.open("wb") as file:
        for mount in (old, new):
            file.write(encode(mount) + b"\n" + filler * fillers)
            file.write(encode(samples.copy(2, src="y" * (2 * BLOCK_BYTES), dst='"header"')) + b"\n")
        file.write(encode(new) + b"\n" + filler)
    found = list(current(log))
    assert found[0] == new
    assert old not in found
    assert len(found) == 1 + fillers + 1 + 1 + 1


def test_lines_and_batches_have_the_same_records(tmp_path: Path) -> None:
    log = tmp_path / "log"
    whole = msgspec.json.encode(samples.copy(1)) + b"\n"
    for strange in (b"", b"\n", b'{"type":"copy"\n', b'{"type":"later"}\n', b"\xff\n"):
        log.write_bytes(msgspec.json.encode(samples.header(1)) + b"\n" + whole + strange + whole)
        stored = list(lines(log))
        assert [line.record for line in stored] == [record for batch in batches(log) for record in batch]
        assert [line.text for line in stored][1:] == [whole, whole]
