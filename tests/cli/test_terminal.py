"""Nothing that a file, a program or a command line is called reaches a terminal raw."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from fusecopy.cli.commands import COMMANDS, fusecopy
from fusecopy.terminal import printable
from tests.cli.commands import Place, background
from tests.mounted import FUSECOPY

CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae")
"""What no command may print but for the ends of lines: C0, DEL, C1, and the right-to-left override."""

EVIL = "x\x1b]0;pwned\a\x7f\x9b31m\u202e\nforged line\r"

SHOWN = printable(EVIL)

CODE = Path(__file__).parents[2] / "fusecopy"

RAW = {"json.dumps", "line.text, nl=False", "ERASE_LINE", "line.encode"}
"""What commands print by click itself: JSON, what Prometheus reads, and a line that is drawn again."""


def shown(*command: str | Path) -> str:
    """What a command says, on both streams."""
    done = subprocess.run(
        [FUSECOPY, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert not CONTROL.search(done.stdout), done.stdout
    assert b"Traceback" not in done.stdout
    text = done.stdout.decode()
    assert "forged line" not in text.splitlines()
    return text


@pytest.mark.fuse
@pytest.mark.root
def test_names_in_a_mount(place: Place) -> None:
    there = Place(place.backing / EVIL, place.point / EVIL, place.log)
    there.backing.mkdir()
    there.point.mkdir()
    name, other = there.point / f"a{EVIL}", there.point / f"b{EVIL}"
    with background(there):
        name.write_bytes(bytes(70000))
        subprocess.run(["cp", name, other], check=True, timeout=30)
        for command in (
            ("status", there.point),
            ("log", there.point),
            ("log", "-c", there.point),
            ("explain", other),
            ("verify", name, other),
            ("cp", "--how", "copy", name, there.point / f"c{EVIL}"),
            ("clone", name, there.point / f"d{EVIL}"),
            ("trace", there.point, "--", "cp", name, there.point / f"e{EVIL}"),
            ("trace", "-c", there.point, "--", "true"),
            ("audit", there.point, "--", "cp", name, there.point / f"f{EVIL}"),
            ("doctor", there.point),
            ("mount", there.backing, there.point),
        ):
            said = shown(*command)
            if command[0] not in ("doctor", "status", "audit") and command[1:2] not in (("-c",),):
                assert SHOWN in said, command
    assert EVIL not in shown("log", place.log)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_names_in_errors(command: str, place: Place) -> None:
    """Whatever a command finds wrong with them."""
    missing = str(place.backing / EVIL)
    for words in (
        [missing],
        [missing, missing],
        [f"--{EVIL}"],
        [EVIL, EVIL, EVIL],
        ["--how", EVIL, missing, missing],
        ["--", missing],
    ):
        if command in ("demo", "list"):  # an operand is too many, and without one they do their work
            words = [*words, EVIL]
        shown(command, *words)


@pytest.mark.parametrize("module", sorted(CODE.glob("cli/*.py")), ids=lambda path: path.stem)
def test_commands_print_by_the_printer_alone(module: Path) -> None:
    for line in module.read_text().splitlines():
        printed = re.search(r"\b(click\.echo|print|sys\.std(out|err)\.write)\((.*)", line)
        if printed and module.stem not in ("demo",):
            assert any(raw in line for raw in RAW), f"{module.name}: {line.strip()}"


def test_all_commands_load() -> None:
    context = click.Context(fusecopy)
    assert all(fusecopy.get_command(context, name) for name in COMMANDS)
