"""fusecopy --version, and help that needs no FUSE."""

import platform
import re

import pytest

from fusecopy import __version__
from tests.cli.commands import Place, background, run

LINE = re.compile(
    r"fusecopy (\S+); pyfuse3 \d+\.\d+\S*; libfuse 3\.\d+\S*; kernel (\S+); FUSE protocol (.+)\n"
)


def test_version_is_one_line() -> None:
    done = run("--version")
    told = LINE.fullmatch(done.stdout)
    assert told, done.stdout
    assert (told[1], told[2]) == (__version__, platform.release())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.fuse
@pytest.mark.root
def test_protocol_is_known_while_something_is_mounted(place: Place) -> None:
    with background(place):
        told = LINE.fullmatch(run("--version").stdout)
    assert told
    assert re.fullmatch(r"7\.\d+", told[3])


@pytest.mark.parametrize("command", ["mount", "umount", "list", "policy", "log"])
def test_help(command: str) -> None:
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: fusecopy {command} ")
    assert f"  {command} " in run("-h").stdout
