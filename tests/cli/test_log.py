"""fusecopy log: what it prints, chooses and refuses, and how it ends."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from fusecopy.cli.finding import find_log, only_mount
from fusecopy.cli.log import command as log
from fusecopy.dispatch.records import Record, timestamp
from fusecopy.errors import LogError, UsageError
from fusecopy.mounts import parsed
from fusecopy.views.format import header
from fusecopy.views.table import COPIES
from tests.cli.logged import EVENTS, FLOW, SUMS, command, copy, drained, seqs, write
from tests.mounted import FUSECOPY

TABLE = """\
TIME     PID     COMM        SIZE DISPATCH   PATH            SHARED     MS FILE
06:47:01 9713    cp          1.0G dispatched reflink           100%    0.4 b
06:47:02 9788    cp          8.0M fallback   kernel-splice       0%     31 x1
06:47:03 9713    install     293K refused    -                    -    0.4 new\\n\\x1b[31mline
  EXDEV: The source lies on another filesystem.
  Copy both to one filesystem first, since extents cannot be shared between two of them.
06:47:04 9901    python3-wi  4.0M bypassed   client               ?     18 py1
06:47:05 77      tar          300 -          client               -    1.5 out
  - : writes with no source in the mount, so not known to be a copy
  06:48:00 policy is now splice
"""


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A log with two mounts: one copy in the first, one of every kind in the second."""
    path = tmp_path / "log"
    write(path, [copy(1, dst="earlier")], pid=1)
    return write(path, EVENTS)


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(log, [str(argument) for argument in arguments])


def _shown(*arguments: str | Path) -> str:
    result = _run(*arguments)
    assert result.exception is None, result.exception
    assert result.stderr == ""
    return result.stdout


def test_table(stored: Path) -> None:
    assert _shown(stored) == TABLE


def test_table_fits_a_terminal() -> None:
    assert len(header(COPIES)) < 80
    assert max(map(len, TABLE.splitlines()[:3])) < 80


def test_quiet_omits_causes(stored: Path) -> None:
    assert _shown("-q", stored) == "".join(
        line for line in TABLE.splitlines(keepends=True) if not line.startswith(("  E", "  C", "  -"))
    )


def test_refusal_shares_nothing_rather_than_an_unknown_amount(tmp_path: Path) -> None:
    path = write(tmp_path / "log", [copy(1, dispatch="refused", copied=0, shared=None, rewritten=0)])
    assert _shown(path).splitlines()[1].split()[-3] == "-"
    assert "+" not in _shown("-c", path)


def _flows(comm: str, count: int, since_ns: int) -> list[Record]:
    """Flows of one program, 0.1 s after each other."""
    change = msgspec.structs.replace
    return [
        change(
            FLOW, seq=number + 1, comm=comm, dst=f"{comm}{number}", mono_ns=since_ns + number * 100_000_000
        )
        for number in range(count)
    ]


def test_flows_that_follow_each_other_are_one_line(tmp_path: Path) -> None:
    git, tar = _flows("git", 60, 0), _flows("tar", 60, 0)
    mixed = [flow for pair in zip(git, tar, strict=True) for flow in pair]
    path = write(tmp_path / "log", [*mixed[:50], copy(1, mono_ns=2_000_000_000), *mixed[50:]])
    copied, *shown = [line.split() for line in _shown(path).splitlines()[1:] if not line.startswith(" ")]
    assert copied[2] == "cp"
    assert [(*line[2:4], *line[-2:]) for line in shown] == [
        ("git", "18K", "60", "flows"),
        ("tar", "18K", "60", "flows"),
    ]
    assert len(_shown("--flows", path).splitlines()) == 1 + 121 + 1
    assert "120 flows of writes with no source in the mount: 35K" in _shown("-c", path)


def test_flows_that_do_not_follow_each_other_are_not(tmp_path: Path) -> None:
    later = _flows("git", 2, 60_000_000_000)
    path = write(tmp_path / "log", [*_flows("git", 3, 0), *_flows("tar", 1, 0), *later])
    rows = [line.split() for line in _shown("-q", path).splitlines()[1:]]
    assert [(line[2], *line[8:]) for line in rows] == [
        ("git", "3", "flows"),
        ("tar", "tar0"),
        ("git", "2", "flows"),
    ]


def test_a_flow_that_failed_is_told(tmp_path: Path) -> None:
    full = msgspec.structs.replace(FLOW, errno="ENOSPC")
    path = write(tmp_path / "log", [*_flows("tar", 2, FLOW.mono_ns), full])
    shown = _shown(path).splitlines()
    assert shown[1].endswith(" out")
    assert shown[2] == "  ENOSPC: The last write failed."
    assert shown[4].endswith(" 2 flows")


def test_the_last_ones_are_rows(tmp_path: Path) -> None:
    later: list[Record] = [*_flows("git", 3, 0), copy(2, mono_ns=60_000_000_000)]
    path = write(tmp_path / "log", [copy(1), *later])
    assert [line.split()[-1] for line in _shown("-q", "-N", "2", path).splitlines()] == ["FILE", "flows", "b"]


def test_lost_records_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'{"type":"lost","time":"2026-03-01T06:51:00.000+01:00","count":12}\n')
    assert _shown(path).splitlines()[1:] == ["  12 records were lost here"]
    assert _shown("-c", path).splitlines()[-1] == "12 records were lost and are not in these sums"


def test_json_is_the_log_verbatim(stored: Path) -> None:
    with stored.open("ab") as file:
        file.write(b'{"type":"policy","time":"t","uid":1,"policy":"p","new":[1, 2]}\n')
    assert _shown("--json", "--all", stored).encode() == stored.read_bytes()


def test_only_the_newest_mount_unless_all(stored: Path) -> None:
    assert seqs(_shown("--json", stored)) == [1, 2, 3, 4, 5]
    assert seqs(_shown("--json", "--all", stored)) == [1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("-p 9788", [2]),
        ("-p 9788 -p 77", [2, 5]),
        ("-n py", [4]),
        ("-P x*", [2]),
        ("-P d/*", [2]),
        ("-P *a", [1, 2, 3, 4]),
        ("-e dispatched,bypassed", [1, 4]),
        ("-x", [2, 3]),
        ("-x -n cp", [2]),
        ("-N 2", [4, 5]),
        ("-N 1 -x", [3]),
    ],
)
def test_choice(stored: Path, options: str, found: list[int]) -> None:
    assert seqs(_shown("--json", *options.split(), stored)) == found


@pytest.mark.parametrize(
    ("options", "message"), [("-e copied", "unknown dispatch: copied"), ("-x -e fallback", "exclude")]
)
def test_choice_that_makes_no_sense(stored: Path, options: str, message: str) -> None:
    result = _run(*options.split(), stored)
    assert isinstance(result.exception, UsageError)
    assert message in result.exception.message


def test_summary(stored: Path) -> None:
    assert _shown("-c", stored) == SUMS


def test_colours_when_told_and_never_with_no_color(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = _shown("--color", "always", stored).splitlines()
    assert coloured[2].startswith("\x1b[33m")
    assert coloured[3].startswith("\x1b[31m")
    assert _shown("--color", "auto", stored) == TABLE
    monkeypatch.setenv("NO_COLOR", "1")
    assert _shown("--color", "always", stored) == TABLE


def test_directory_that_is_no_mount(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the root of a fusecopy mount"):
        find_log(str(tmp_path))


def test_missing_file(tmp_path: Path) -> None:
    result = _run(tmp_path / "nothing")
    assert isinstance(result.exception, LogError)
    assert result.exception.exit_status == 22


OTHER = "23 1 0:22 / /mnt/other rw,relatime shared:1 - fuse.sshfs fusecopy rw\n"
ONE = "36 35 0:52 / /mnt/my\\040copies\\134040 rw,nosuid - fuse.fusecopy /data rw,user_id=0,group_id=0\n"
TWO = "37 35 0:53 / /mnt/b rw,nosuid shared:7 master:2 - fuse.fusecopy /data rw,user_id=0,group_id=0\n"


def test_the_only_mount_is_found() -> None:
    assert only_mount(parsed(OTHER + ONE + ONE)) == "/mnt/my copies\\040"


def test_no_mount() -> None:
    with pytest.raises(UsageError, match="there is no fusecopy mount"):
        only_mount(parsed(OTHER))


def test_mounts_of_others_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = TWO.replace("user_id=0", "user_id=1000")
    assert only_mount(parsed(ONE + theirs)) == "/mnt/my copies\\040"
    assert only_mount(parsed(theirs)) == "/mnt/b"  # root may read any
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert only_mount(parsed(ONE + theirs)) == "/mnt/b"
    with pytest.raises(UsageError, match="there is no fusecopy mount of yours"):
        only_mount(parsed(ONE))


def test_several_mounts_are_named() -> None:
    with pytest.raises(UsageError, match=r"several fusecopy mounts: /mnt/b, /mnt/my copies\\040"):
        only_mount(parsed(ONE + TWO))


def test_broken_pipe_is_silent(tmp_path: Path) -> None:
    path = write(tmp_path / "log", [copy(seq) for seq in range(1, 2001)])
    with command(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=10) == 0


def test_header_is_repeated_each_screen_on_a_terminal(stored: Path) -> None:
    ours, theirs = pty.openpty()
    with command("--wide", "--color", "never", stored, stdout=theirs) as process:
        os.close(theirs)
        shown = drained(ours).replace("\r\n", "\n")
        assert process.wait(timeout=10) == 0
    titles, *texts = TABLE.splitlines()
    pages = [texts[:2], texts[2:5], texts[5:8], texts[8:]]  # what belongs to a row stays with it
    assert shown.splitlines() == [line for page in pages for line in [titles, *page]]


def test_a_row_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    name = "a/very/long/path/" * 8 + "with-an-end-to-know-it-by"
    path = write(tmp_path / "log", [copy(1, dst=name), *EVENTS])
    ours, theirs = pty.openpty()
    with command("--color", "never", path, stdout=theirs) as process:
        os.close(theirs)
        shown = drained(ours).replace("\r\n", "\n").splitlines()
        assert process.wait(timeout=10) == 0
    assert max(map(len, shown)) == 80  # a sentence takes what there is
    assert "PID" not in shown[0]
    assert re.search(r"a/very.*…to-know-it-by$", shown[1])
    assert [line for line in shown if line.startswith("  ")][:2] == [
        "  EXDEV: The source lies on another filesystem.",
        "  Copy both to one filesystem first, since extents cannot be shared between two…",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [1, 2, 3]),
        (["--uid", "7"], [2]),
        (["--uid", "7", "--uid", "0"], [2, 3]),
        (["--driver", "sendfile"], [3]),
        (["--size", "1M"], [3]),
        (["--size", "64k", "--driver", "copy_file_range"], [2]),
        (["--since", "1h"], [3]),
        (["--since", "1970-01-01T00:00"], [1, 2, 3]),
    ],
)
def test_choosing_by_user_driver_size_and_time(
    tmp_path: Path, options: list[str], expected: list[int]
) -> None:
    change = msgspec.structs.replace
    copies: list[Record] = [
        change(copy(1), uid=1, copied=1, driver="copy_file_range"),
        change(copy(2), uid=7, copied=1 << 16, driver="copy_file_range"),
        change(copy(3), uid=0, copied=1 << 20, driver="sendfile", time=timestamp()),
    ]
    path = write(tmp_path / "log", copies)
    told = subprocess.run([FUSECOPY, "log", "--json", *options, path], capture_output=True, check=True)
    found = [json.loads(line) for line in told.stdout.splitlines()]
    assert [record["seq"] for record in found if record["type"] == "copy"] == expected


@pytest.mark.parametrize(
    "options",
    [["--size", "x"], ["--size", "-1"], ["--size", "1X"], ["--since", "later"], ["--since", "99999999d"]],
)
def test_sizes_and_times_that_are_none(stored: Path, options: list[str]) -> None:
    done = subprocess.run([FUSECOPY, "log", *options, stored], capture_output=True, text=True)
    assert done.returncode == 2
    assert "is not a " in done.stderr


def test_terminal_is_coloured(stored: Path) -> None:
    ours, theirs = pty.openpty()
    with command("-N", "1", "-e", "dispatched", stored, stdout=theirs) as process:
        os.close(theirs)
        shown = drained(ours)
        assert process.wait(timeout=10) == 0
    assert "\x1b[32mcp " in shown
