"""fusecopy log: what it prints, chooses and refuses, and how it ends."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from fusecopy.cli.format import header
from fusecopy.cli.log import COPIES, find_log, only_mount
from fusecopy.cli.log import command as log
from fusecopy.dispatch.records import Copy, Flow, Header, Policy, Record, Requests, timestamp
from fusecopy.dispatch.writer import Writer
from fusecopy.errors import LogError, UsageError
from fusecopy.mounts import parsed
from tests import samples
from tests.mounted import FUSECOPY

MIB = 1 << 20


def _copy(seq: int, **changes: Any) -> Copy:
    whole = {"length": 1024 * MIB, "copied": 1024 * MIB, "shared": 1024 * MIB, "duration_us": 412}
    return samples.copy(seq, **{**whole, **changes})


FALLBACK = _copy(
    2,
    pid=9788,
    dispatch="fallback",
    path="kernel-splice",
    src="d/a",
    dst="x1",
    length=8 * MIB,
    copied=8 * MIB,
    shared=0,
    proof="written",
    rewritten=8 * MIB,
    duration_us=31000,
    requests=Requests(1, 33, 8 * MIB, 128, 8 * MIB),
)
REFUSED = _copy(
    3,
    comm="install",
    dispatch="refused",
    path="-",
    dst="new\n\x1b[31mline",
    length=300000,
    copied=0,
    shared=0,
    proof="-",
    errno="EXDEV",
    cause="The source lies on another filesystem.",
    remedy="Copy both to one filesystem first, since extents cannot be shared between two of them.",
)
BYPASSED = _copy(
    4,
    pid=9901,
    comm="python3-with-a-long-name",
    dispatch="bypassed",
    path="client",
    dst="py1",
    length=4 * MIB,
    copied=4 * MIB,
    shared=None,
    proof="unprovable",
    rewritten=None,
    duration_us=18000,
    requests=Requests(0, 32, 4 * MIB, 64, 4 * MIB),
)
FLOW = Flow(
    seq=5,
    time="2026-03-01T06:47:05.000+01:00",
    mono_ns=5,
    pid=77,
    comm="tar",
    uid=0,
    dst="out",
    duration_us=1500,
    requests=Requests(writes=3, write_bytes=300),
)
POLICY = Policy("2026-03-01T06:48:00.000+01:00", 0, "splice")
EVENTS: list[Record] = [_copy(1), FALLBACK, REFUSED, BYPASSED, FLOW, POLICY]

TABLE = """\
TIME     PID     COMM        SIZE DISPATCH   PATH            SHARED     MS FILE
06:47:01 9713    cp          1.0G dispatched reflink           100%    0.4 b
06:47:02 9788    cp          8.0M fallback   kernel-splice       0%     31 x1
06:47:03 9713    install     293K refused    -                    -    0.4 new\\n\\x1b[31mline
  EXDEV: The source lies on another filesystem. Copy both to one filesystem
  first, since extents cannot be shared between two of them.
06:47:04 9901    python3-wi  4.0M bypassed   client               ?     18 py1
06:47:05 77      tar          300 -          client               -    1.5 out
  06:48:00 policy is now splice
"""

SUMS = """\
DISPATCH   PATH             COPIES  ASKED  SHARED REWRITTEN REQUESTS
dispatched reflink               1   1.0G    1.0G         0        1
fallback   kernel-splice         1   8.0M       0      8.0M      162
refused    -                     1   293K       0         0        1
bypassed   client                1   4.0M      0+        0+       96
total                            4   1.0G   1.0G+     8.0M+      260

COMM                        COPIES  ASKED  SHARED REWRITTEN REQUESTS
cp                               2   1.0G    1.0G      8.0M      163
install                          1   293K       0         0        1
python3-with-a-long-name         1   4.0M      0+        0+       96

1 flows of writes with no source in the mount
"""


def _write(path: Path, records: list[Record], pid: int = 4711) -> Path:
    values = {field: getattr(samples.HEADER, field) for field in samples.HEADER.__struct_fields__}
    writer = Writer(path, Header(**{**values, "pid": pid}))
    for record in records:
        writer.put(record)
    writer.close()
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A log with two mounts: one copy in the first, one of every kind in the second."""
    path = tmp_path / "log"
    _write(path, [_copy(1, dst="earlier")], pid=1)
    return _write(path, EVENTS)


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(log, [str(argument) for argument in arguments])


def _shown(*arguments: str | Path) -> str:
    result = _run(*arguments)
    assert result.exception is None, result.exception
    assert result.stderr == ""
    return result.stdout


def _seqs(output: str) -> list[int]:
    return [record["seq"] for record in map(json.loads, output.splitlines()) if "seq" in record]


@contextmanager
def _command(*arguments: str | Path, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process of its own."""
    program = "from fusecopy.cli.log import command; command()"
    environment = {**os.environ, "LINES": "5", "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("NO_COLOR", None)
    words = [sys.executable, "-c", program, *map(str, arguments)]
    process = subprocess.Popen(words, stdout=stdout, stderr=subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_table(stored: Path) -> None:
    assert _shown(stored) == TABLE


def test_table_fits_a_terminal() -> None:
    assert len(header(COPIES)) < 80
    assert max(map(len, TABLE.splitlines()[:3])) < 80


def test_quiet_omits_causes(stored: Path) -> None:
    assert _shown("-q", stored) == "".join(
        line for line in TABLE.splitlines(keepends=True) if "EXDEV" not in line and "first," not in line
    )


def test_refusal_shares_nothing_rather_than_an_unknown_amount(tmp_path: Path) -> None:
    path = _write(tmp_path / "log", [_copy(1, dispatch="refused", copied=0, shared=None, rewritten=0)])
    assert _shown(path).splitlines()[1].split()[-3] == "-"
    assert "+" not in _shown("-c", path)


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
    assert _seqs(_shown("--json", stored)) == [1, 2, 3, 4, 5]
    assert _seqs(_shown("--json", "--all", stored)) == [1, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "seqs"),
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
        ("-N 2", [1, 2]),
        ("-N 1 -x", [2]),
    ],
)
def test_choice(stored: Path, options: str, seqs: list[int]) -> None:
    assert _seqs(_shown("--json", *options.split(), stored)) == seqs


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
        find_log(tmp_path)


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


def test_follow_shows_what_comes_and_ends_on_interrupt(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(_copy(1))
    assert writer.flush()
    with _command("-F", "--all", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"TIME ")
        assert process.stdout.readline().startswith(b"06:47:01 ")
        writer.put(FALLBACK)
        assert process.stdout.readline().startswith(b"06:47:02 ")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=10) == (b"", b"")
        assert process.returncode == 0
    writer.close()


def test_follow_begins_now(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(_copy(1))
    writer.put(Policy(timestamp(), 0, "strict"))
    assert writer.flush()
    with _command("-F", "-N", "1", path) as process:
        _await_follower(process.pid, path)
        writer.put(_copy(2, dst="new", time=timestamp()))
        output, errors = process.communicate(timeout=10)
    writer.close()
    assert (process.returncode, errors) == (0, b"")
    assert [line.split()[-1] for line in output.splitlines()] == [b"FILE", b"new"]


def test_follow_ends_after_its_count(stored: Path) -> None:
    with _command("-F", "--since", "1970-01-01T00:00", "-N", "2", "--json", stored) as process:
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, b"")
    assert _seqs(output.decode()) == [1, 2]


def test_interrupted_follow_prints_its_summary(stored: Path) -> None:
    with _command("-F", "-c", stored) as process:
        _await_follower(process.pid, stored)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, b"")
    assert output.decode() == SUMS


def test_sums_on_a_terminal_are_shown_anew_as_copies_come(tmp_path: Path) -> None:
    path = tmp_path / "log"
    writer = Writer(path, samples.HEADER)
    writer.put(_copy(1))
    assert writer.flush()
    ours, theirs = pty.openpty()
    with _command("-F", "-c", path, stdout=theirs) as process:
        os.close(theirs)
        _read_until(ours, r"total +1 ")
        writer.put(FALLBACK)
        assert "fallback" in _read_until(ours, r"total +2 ")
        process.send_signal(signal.SIGINT)
        assert "total" not in _drained(ours)
        assert process.wait(timeout=10) == 0
    writer.close()


def _read_until(terminal: int, pattern: str) -> str:
    shown = ""
    while not re.search(pattern, shown):
        assert select.select([terminal], [], [], 20)[0], shown
        shown += os.read(terminal, 4096).decode()
    return shown


def _await_follower(pid: int, path: Path) -> None:
    """Wait until the process has read the log to its end, by its own descriptor's position."""
    deadline = os.times().elapsed + 10
    while os.times().elapsed < deadline:
        for name in Path(f"/proc/{pid}/fd").iterdir():
            try:
                same = os.path.samefile(name, path)
                position = Path(f"/proc/{pid}/fdinfo/{name.name}").read_text().split()[1]
            except FileNotFoundError:
                continue
            # The pass before, which looks for the newest mount, ends there too but does not wait.
            if same and int(position) == path.stat().st_size and _waits(pid):
                return
    pytest.fail("the log was never read to its end")


def _waits(pid: int) -> bool:
    return "futex" in Path(f"/proc/{pid}/wchan").read_text()


def test_broken_pipe_is_silent(tmp_path: Path) -> None:
    path = _write(tmp_path / "log", [_copy(seq) for seq in range(1, 2001)])
    with _command(path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=10) == 0


def test_header_is_repeated_each_screen_on_a_terminal(stored: Path) -> None:
    ours, theirs = pty.openpty()
    with _command("--wide", "--color", "never", stored, stdout=theirs) as process:
        os.close(theirs)
        shown = _drained(ours).replace("\r\n", "\n")
        assert process.wait(timeout=10) == 0
    titles, *texts = TABLE.splitlines()
    pages = [texts[:3], texts[3:6], texts[6:]]
    assert shown.splitlines() == [line for page in pages for line in [titles, *page]]


def test_a_row_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    name = "a/very/long/path/" * 8 + "with-an-end-to-know-it-by"
    path = _write(tmp_path / "log", [msgspec.structs.replace(_copy(1), dst=name)])
    ours, theirs = pty.openpty()
    with _command("--color", "never", path, stdout=theirs) as process:
        os.close(theirs)
        shown = _drained(ours).replace("\r\n", "\n").splitlines()
        assert process.wait(timeout=10) == 0
    assert max(map(len, shown)) < 80
    assert "PID" not in shown[0]
    assert re.search(r"a/very.*…to-know-it-by$", shown[1])


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
        change(_copy(1), uid=1, copied=1, driver="copy_file_range"),
        change(_copy(2), uid=7, copied=1 << 16, driver="copy_file_range"),
        change(_copy(3), uid=0, copied=1 << 20, driver="sendfile", time=timestamp()),
    ]
    path = _write(tmp_path / "log", copies)
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
    assert "is no " in done.stderr


def test_terminal_is_coloured(stored: Path) -> None:
    ours, theirs = pty.openpty()
    with _command("-N", "1", stored, stdout=theirs) as process:
        os.close(theirs)
        shown = _drained(ours)
        assert process.wait(timeout=10) == 0
    assert "\x1b[32mcp " in shown


def _drained(terminal: int) -> str:
    """All that is written to a terminal until its other side is closed, which reads as EIO."""
    data = b""
    try:
        while chunk := os.read(terminal, 4096):
            data += chunk
    except OSError:
        pass
    finally:
        os.close(terminal)
    return data.decode()
