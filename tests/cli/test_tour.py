"""README.md as somebody types it: its picture and its tour are run, and print what stands there."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import require
from tests.mounted import FUSECOPY

README = Path(__file__).parents[2] / "README.md"

TYPED = re.compile(r"^ {4}(.*)$", re.MULTILINE)
DONE = "-- done --"

PLACES = (Path("/srv/data"), Path("/mnt/copy"))
"""Of the picture. What may be there is covered in the shell's own mount namespace, and stays as it is."""
PICTURE = """mount -t tmpfs none /mnt/copy
mount -o loop "$HOME/picture" /srv/data && head -c 8M /dev/urandom >/srv/data/big"""
OWN_LOGS = "mkdir -p /var/log/fusecopy && mount -t tmpfs none /var/log/fusecopy"
TAKEN_AWAY = "cd / && fusecopy umount /mnt/copy && umount /srv/data\n"

VARIABLE = (
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\(pid \d+\)"), "(pid N)"),
    (re.compile(r"^(TIME +)\d+( .*) [\d.]+ (\S+)$"), r"\1PID\2 MS \3"),
    (re.compile(r"\b(9223372035781033984|2146435072)\b"), "MUCH"),  # asked for by cp 9.1, by 9.10
    (re.compile(r"/home/you/"), "~/"),
    (re.compile(r" +"), " "),
)
"""What differs from run to run, and from home to home."""


def session(text: str) -> list[tuple[str, list[str]]]:
    """The commands after `$ ` in the indented lines, each with the lines that it is said to print."""
    commands: list[tuple[str, list[str]]] = []
    for line in TYPED.findall(text):
        if line.startswith("$ "):
            commands.append((line.removeprefix("$ "), []))
        elif commands:
            commands[-1][1].append(line)
    return commands


def told(lines: list[str], home: Path) -> list[str]:
    """Lines without what differs from run to run."""
    plain = [line.replace(f"{home}/", "~/") for line in lines]
    for pattern, replacement in VARIABLE:
        plain = [pattern.sub(replacement, line) for line in plain]
    return [line.strip() for line in plain]


def typed(commands: list[str], home: Path, before: str = "", after: str = "") -> list[list[str]]:
    """What each command prints, typed into one shell, which has mounts of its own and is root."""
    lines = [OWN_LOGS, before, 'sudo() { "$@"; }']
    for command in commands:
        lines += [f"echo '{DONE}'", command]
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "bash"],
        input="\n".join([*lines, f"echo '{DONE}'", after]),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        cwd=home,
        env={**os.environ, "HOME": str(home), "PATH": f"{Path(FUSECOPY).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout
    printed = done.stdout.split(f"{DONE}\n")
    assert (printed[0], printed[-1]) == ("", ""), done.stdout
    return [text.splitlines() for text in printed[1:-1]]


def compare(text: str, home: Path, before: str = "", after: str = "") -> None:
    """Run the commands in a piece of README.md and compare."""
    commands = session(text)
    assert len(commands) > 5
    printed = typed([command for command, _ in commands], home, before, after)
    for (command, promised), actual in zip(commands, printed, strict=True):
        assert told(actual, home) == told(promised, home), command


@contextmanager
def there(places: Iterable[Path]) -> Iterator[None]:
    """Directories that are there during the block; those that were not are gone afterwards."""
    missing = [place for place in places if not place.exists()]
    for place in missing:
        place.mkdir()
    try:
        yield
    finally:
        for place in missing:
            place.rmdir()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Somebody's empty home."""
    require("fuse", "root", "loop", "seccomp")
    return tmp_path


def test_the_picture_is_what_is_printed(home: Path) -> None:
    picture = README.read_text().partition("\n## ")[0]
    image = home / "picture"
    subprocess.run(["truncate", "-s", "1G", image], check=True)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, stdout=subprocess.DEVNULL)
    with there(PLACES):
        compare(picture, home, PICTURE, TAKEN_AWAY)


def test_the_tour_works_as_typed(home: Path) -> None:
    tour = README.read_text().partition("\n## Five minutes\n")[2].partition("\n## ")[0]
    compare(tour, home)
    assert list(home.iterdir()) == []


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150
