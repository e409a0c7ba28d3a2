"""The man pages say what the commands say, and man(1) shows them as they are meant."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest

from fusecopy.cli.commands import COMMANDS, fusecopy
from manpages import roff
from manpages.pages import pages

ROOT = Path(__file__).parents[2]


def test_every_option_of_every_command_has_its_page() -> None:
    made = pages(ROOT)
    for name in COMMANDS:
        command = fusecopy.get_command(click.Context(fusecopy), name)
        assert command
        shown = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
        spelled = [word for each in shown for word in each.opts]
        assert [word for word in spelled if roff.plain(word) not in made[f"fusecopy-{name}.1"]] == []


@pytest.mark.skipif(shutil.which("groff") is None, reason="missing here: groff")
def test_roff_has_nothing_to_complain_of() -> None:
    for name, text in pages(ROOT).items():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8"], input=text.encode(), capture_output=True, timeout=30
        )
        assert (done.returncode, done.stderr) == (0, b""), name


def test_what_is_special_to_roff_is_shown() -> None:
    text = ".not a request\n\n    'nor this \\e\n    -x ~/a\n"
    assert roff.markdown(text) == [
        ".PP",
        "\\&.not a request",
        ".PP",
        ".nf",
        ".RS 4",
        "\\&'nor this \\ee",
        "\\-x \\(ti/a",
        ".RE",
        ".fi",
    ]


def test_a_table_is_a_list() -> None:
    text = "| field | unit | meaning |\n|---|---|---|\n| `a` | bytes | how *much*: `x\\|y` |"
    assert roff.markdown(text) == [".TP", "\\fBa\\fP (bytes)", "how *much*: \\fBx|y\\fP"]
