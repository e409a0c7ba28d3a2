"""The survey: what strace says is read right, and where calls and log differ that is said."""

from datetime import datetime
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy, Requests
from fusecopy.survey.comparing import differences, said
from fusecopy.survey.programs import PROGRAMS
from fusecopy.survey.records import Calls, Logged
from fusecopy.survey.strace import Names, read

BELOW = Path("/mnt/001")


@pytest.mark.parametrize(
    ("lines", "calls"),
    [
        (
            [
                "7 0.5 copy_file_range(3</mnt/source>, NULL, 4</mnt/001/copy>, NULL, 99, 0) = 70",
            ],
            Calls({"copy_file_range": 70}),
        ),
        (
            ["7 0.5 ioctl(4</mnt/001/copy>, BTRFS_IOC_CLONE or FICLONE, 3</mnt/source>) = -1 EOPNOTSUPP"],
            Calls(refused={"FICLONE EOPNOTSUPP": 1}),
        ),
        (
            ["7 0.5 ioctl(4</mnt/001/copy>, FICLONERANGE, {src_fd=3</mnt/a>}) = 0"],
            Calls({"FICLONERANGE": 1}),
        ),
        (
            ["7 0.5 sendfile(1</mnt/001/c>, 0</mnt/source>, NULL, 2147479552) = 5"],
            Calls({"sendfile": 5}),
        ),
        (
            [
                "7 0.5 splice(3</mnt/source>, NULL, 5<pipe:[77]>, NULL, 65536, 0) = 65536",
                "7 0.5 splice(4<pipe:[77]>, NULL, 6</mnt/001/copy>, NULL, 65536, 0) = 65536",
            ],
            Calls({"splice": 65536}),
        ),
        (
            [
                '7 0.5 write(4</mnt/001/copy>, ""..., 131072 <unfinished ...>',
                '8 0.5 write(1<pipe:[3]>, ""..., 10) = 10',
                "7 0.5 <... write resumed>) = 131072",
            ],
            Calls({"write": 131072}),
        ),
        (
            [
                "7 0.5 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_SHARED, 4</mnt/001/copy>, 0) = 0x7f00",
                "7 0.5 mmap(NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE, 4</mnt/001/copy>, 0) = 0x7f00",
                "7 0.5 mmap(NULL, 8192, PROT_READ, MAP_SHARED, 4</mnt/001/copy>, 0) = 0x7f00",
            ],
            Calls({"mmap": 8192}),
        ),
        (
            [
                '7 0.5 write(4</mnt/002/copy>, ""..., 5) = 5',
                '7 0.5 write(4</mnt/001/c>, ""..., 5) = ?',
            ],
            Calls(),
        ),
    ],
)
def test_strace_is_read(lines: list[str], calls: Calls) -> None:
    assert read(lines, BELOW)[0] == calls


def test_names_that_are_gone() -> None:
    lines = [
        '7 0.5 unlink("a/journal") = 0',
        '7 1.5 unlinkat(AT_FDCWD</mnt/001>, "b", 0) = -1 ENOENT (none)',
        '7 2.5 renameat2(AT_FDCWD</mnt/001>, "d/.tmp", AT_FDCWD</mnt/001>, "to", 0) = 0',
    ]
    assert read(lines, BELOW)[1] == Names({"journal"}, {".tmp": 2.5})


def copied(**fields: object) -> Copy:
    given = {
        "seq": 1,
        "time": "2026-03-01T06:45:00.000+00:00",
        "mono_ns": 0,
        "pid": 7,
        "comm": "cp",
        "uid": 0,
        "asked": "copy_file_range",
        "src": "source",
        "dst": "001/copy",
        "off_in": 0,
        "off_out": 0,
        "length": 70000,
        "copied": 70000,
        "dispatch": "dispatched",
        "path": "reflink",
        "shared": 69632,
        "proof": "fiemap",
        "rewritten": 368,
        "duration_us": 1,
        "requests": Requests(copies=1),
        "driver": "copy_file_range",
    }
    return Copy(**{**given, **fields})  # type: ignore[arg-type]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "copy").touch()
    return tmp_path


def test_agreement(directory: Path) -> None:
    assert differences(Calls({"copy_file_range": 140000}), Names(), [copied(), copied()], directory) == []
    moved = copied(dispatch="bypassed", driver="sendfile", requests=Requests(writes=2, write_bytes=70000))
    assert differences(Calls({"sendfile": 70000}), Names(), [moved], directory) == []
    assert differences(Calls({"FICLONE": 1}), Names(), [copied(driver="ioctl")], directory) == []
    assert differences(Calls({"mmap": 8192}), Names(), [], directory) == []
    assert differences(Calls({"read/write": 5}, tracer="fusecopy expect"), Names(), [moved], directory) == []


def test_differences_are_said(directory: Path) -> None:
    assert differences(Calls({"copy_file_range": 70000}), Names(), [], directory) == [
        "copy_file_range: 70000 bytes seen, 0 logged"
    ]
    assert differences(Calls({"write": 70000}), Names(), [copied()], directory) == [
        "copy_file_range: 0 bytes seen, 70000 logged",
        "write: 70000 bytes seen, 0 logged",
    ]
    assert differences(Calls(), Names(), [copied(driver="ioctl")], directory) == [
        "ioctl: 0 bytes seen, 70000 logged"
    ]
    assert differences(Calls({"read/write": 5}, tracer="fusecopy expect"), Names(), [], directory)


def test_a_name_that_nothing_has_is_a_difference_unless_it_was_taken_away_later(directory: Path) -> None:
    records = [copied(dst="001/.copy.tmp")]
    calls = Calls({"copy_file_range": 70000})
    ended = datetime.fromisoformat(records[0].time).timestamp()
    wrong = ["the log names 001/.copy.tmp, which is not there"]
    assert differences(calls, Names(), records, directory) == wrong
    assert differences(calls, Names(removed={".copy.tmp"}), records, directory) == []
    assert differences(calls, Names(renamed={".copy.tmp": ended + 0.01}), records, directory) == wrong
    assert differences(calls, Names(renamed={".copy.tmp": ended + 1}), records, directory) == []


def test_records_that_are_alike_are_told_as_one() -> None:
    assert said([copied(), copied(seq=2), copied(seq=3, shared=None)]) == [
        Logged("dispatched", "reflink", "copy_file_range", 3, 210000, None)
    ]


def test_programs_have_names_of_their_own() -> None:
    names = [program.name for program in PROGRAMS]
    assert sorted(names) == sorted(set(names))
