"""Every command with wrong input of every kind: words and a documented status, never a traceback."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fusecopy.cli.commands import COMMANDS
from fusecopy.errors import Exit
from tests.cli.commands import NOBODY, Place
from tests.mounted import FUSECOPY, mounted
from tests.tracepoints import tracefs_mounted

DOCUMENT = Path(__file__).parents[2] / "docs/exit-statuses.md"

LONG = "n" * 5000

NO_PROC = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "-")

GONE = ("sh", "-c", 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"', "-")

TAKE_NO_OPERAND = {"demo", "list"}
"""With no operand these do their work."""

RUN_WHAT_FOLLOWS = {"run"}

TAKE_MINUTES = {"survey"}
"""Given a directory they do all their work there."""


def documented() -> set[int]:
    """The statuses of the document's table."""
    cells = [cell.strip() for line in DOCUMENT.read_text().splitlines() for cell in line.split("|")]
    numbers = [cell.split(", ") for cell in cells if re.fullmatch(r"\d+(, \d+)*", cell)]
    return {int(number) for cell in numbers for number in cell}


def tried(words: list[str], prefix: tuple[str, ...] = (), cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [*prefix, FUSECOPY, *words],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        cwd=cwd,
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert "Traceback" not in said, f"{words}: {said}"
    assert done.returncode in documented(), f"{words}: {done.returncode} {said}"
    return done.returncode, said


def wrong(place: Place) -> list[list[str]]:
    """Operands that no command can use."""
    names = {
        "text": b"some notes\n",
        "binary": bytes(range(256)),
        "empty": b"",
    }
    files = []
    for name, content in names.items():
        (place.backing / name).write_bytes(content)
        files.append(str(place.backing / name))
    os.mkfifo(place.backing / "fifo")
    missing = str(place.backing / "missing")
    operands = ["", missing, LONG, "/dev/null", str(place.backing / "fifo"), str(place.backing), *files]
    pairs = [[files[0], one] for one in operands]
    return [[], *([one] for one in operands), *pairs, [missing] * 4, ["--no-such-option"], ["-1"]]


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("command", sorted(set(COMMANDS) - TAKE_NO_OPERAND - RUN_WHAT_FOLLOWS - TAKE_MINUTES))
def test_operands_of_every_kind(command: str, place: Place) -> None:
    def one(operands: list[str]) -> None:
        words = ["--how", "copy", *operands] if command == "cp" else operands
        tail = ["--", "true"] if command in ("trace", "audit", "expect") else []
        status, said = tried([command, *words, *tail])
        assert status == 0 or "rror" in said or "fusecopy: " in said, f"{words}: {said}"

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, wrong(place)))


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["mount", "--paths", "", "/a", "/b"], 2),
        (["mount", "--paths", "", ".", "."], 2),
        (["mount", "--log", "", ".", "."], 2),
        (["mount", "-o", "paths=", ".", "."], 2),
        (["mount", "--strict", "--decline", "exdev", ".", "/mnt"], 2),
        (["mount", "--refuse", "EIO", "--decline", "exdev", ".", "/mnt"], 2),
        (["mount", "", ""], 2),
        (["umount", ""], 2),
        (["log", "-p", "-1"], 2),
        (["log", "-p", "one"], 2),
        (["log", "-N", "0"], 2),
        (["log", "-e", ""], 2),
        (["log", "-e", "copied", "/dev/null"], 2),
        (["log", "/dev/null"], 22),
        (["explain", "/dev/null", "0"], 2),
        (["verify", "--range", "0:0:99999999999999999999999", FUSECOPY, FUSECOPY], 2),
        (["verify", "--range", "1:2", FUSECOPY, FUSECOPY], 2),
        (["cp", "/dev/null", "/tmp/x"], 2),
        (["cp", "--how", "move", FUSECOPY, "/tmp/x"], 2),
        (["run"], 2),
        (["run", "/no/such/command"], 127),
        (["run", "/dev/null"], 126),
        (["expect", "--", "/no/such/command"], 127),
        (["expect", "nonsense", "--", "true"], 2),
        (["expect", "shared=101%", "--", "true"], 2),
        (["trace", "--", "/no/such/command"], 127),
        (["trace", "--", "/dev/null"], 126),
        (["list", "operand"], 2),
        (["demo", "--only", "99"], 2),
        (["nonsense"], 2),
        ([""], 2),
        (["--nonsense"], 2),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
@pytest.mark.fuse
@pytest.mark.root
def test_the_status_of_wrong_input(words: list[str], status: int, tmp_path: Path) -> None:
    with ExitStack() as stack:
        if words[0] == "trace":
            stack.enter_context(tracefs_mounted())
            stack.enter_context(mounted(tmp_path))
        found, said = tried(words, cwd=tmp_path)
    assert found == status, said


@pytest.mark.fuse
@pytest.mark.root
@pytest.mark.parametrize("prefix", [NO_PROC, GONE], ids=["no proc", "directory gone"])
def test_where_there_is_no_proc_and_where_the_directory_is_gone(prefix: tuple[str, ...]) -> None:
    commands = [
        ["mount", "a", "b"],
        ["umount", "a"],
        ["list"],
        ["log"],
        ["log", "a"],
        ["status", "a"],
        ["policy", "a"],
        ["shell", "a"],
        ["verify", "a", "b"],
        ["explain", "a"],
        ["cp", "--how", "copy", "a", "b"],
        ["clone", "a", "b"],
        ["trace", "a", "--", "true"],
        ["audit", "a", "--", "true"],
        ["doctor"],
        ["doctor", "."],
        ["--version"],
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda words: tried(words, prefix), commands))


@pytest.mark.fuse
@pytest.mark.root
def test_without_rights(place: Place) -> None:
    shut, file = place.backing / "shut", place.backing / "file"
    shut.mkdir(mode=0o700)
    file.write_bytes(b"content")
    file.chmod(0o644)
    for words, status in (
        (["cp", "--how", "copy", str(file), str(shut)], 1),
        (["cp", "--how", "copy", str(file), str(shut / "x")], 1),
        (["clone", str(file), str(shut)], 1),
        (["verify", str(shut / "x"), str(file)], 1),
        (["log", str(shut / "x")], 22),
        (["explain", str(shut / "x")], 1),
        (["mount", "--log", str(place.log), str(shut), str(place.point)], 11),
        (["doctor", str(shut)], 11),
    ):
        found, said = tried(words, NOBODY)
        assert found == status, f"{words}: {said}"


def test_no_command_at_all_shows_them() -> None:
    status, said = tried([])
    assert status == Exit.USAGE
    lines = said.splitlines()
    assert lines[0].startswith("Usage: fusecopy ")
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= set(COMMANDS)
