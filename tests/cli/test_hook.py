"""fusecopy hook in real shells on a terminal."""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusecopy.dispatch.records import Copy
from tests.cli.commands import run
from tests.conftest import require
from tests.mounted import FUSECOPY, Mounted, mounted

SECONDS = 60.0

START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
HOOK = {
    "bash": 'eval "$({fusecopy} hook bash probe)"',
    "zsh": 'eval "$({fusecopy} hook zsh probe)"',
    "fish": "{fusecopy} hook fish probe | source",
}
STATUS = {"bash": "$?", "zsh": "$?", "fish": "$status"}

PROBE = """#!/bin/sh
echo "args $# filter $(sed -n 's/^Seccomp:[^0-9]*//p' /proc/self/status)"
exit ${STATUS:-0}
"""

WAITING = """#!/usr/bin/python3
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"wo" + b"ken\\n"))
print("rea" + "dy", flush=True)
while True: signal.pause()
"""


class Shell:
    """An interactive shell on a terminal of its own, with the hook."""

    def __init__(self, name: str, home: Path) -> None:
        self.name = name
        environment = {
            **os.environ,
            "HOME": str(home),
            "PATH": f"{home}:{os.environ['PATH']}",
            "TERM": "dumb",
            "PS1": "> ",
        }
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execvpe(START[name][0], START[name], environment)
        self._number = 0
        self.do(HOOK[name].format(fusecopy=FUSECOPY))

    def do(self, line: str) -> str:
        """Type a line, and a second one that tells when the first is done; what came between."""
        self.type(f"{line}\n")
        return self.status()

    def status(self) -> str:
        """What came until now, and the status of the last line."""
        self._number += 1
        end = f"done{self._number}"
        self.type(f'echo "do""ne{self._number}"="{STATUS[self.name]}"\n')
        return self.until(rf"{end}=\d+")

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, pattern: str) -> str:
        """Read until it has come."""
        seen = ""
        while not re.search(pattern, seen):
            readable, _, _ = select.select([self._fd], [], [], SECONDS)
            assert readable, seen
            seen += os.read(self._fd, 4096).decode(errors="replace")
        return seen

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def mount(btrfs: Path) -> Iterator[Mounted]:
    require("fuse", "root", "loop", "seccomp")
    backing = btrfs / "hooked"
    backing.mkdir()
    (backing / "a").write_bytes(b"fusecopy" * 8192)
    with mounted(backing) as mount:
        yield mount


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        pytest.skip(f"missing here: {request.param}")
    for name, text in (("probe", PROBE), ("waiting", WAITING)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    shell = Shell(request.param, tmp_path)
    yield shell
    shell.end()


def test_cp_reflink_in_a_mount_is_dispatched(mount: Mounted, shell: Shell) -> None:
    name = f"b-{shell.name}"
    shell.do(f"cd {mount.path}")
    assert re.search(r"done\d+=0", shell.do(f"cp --reflink=always a {name}"))
    found = mount.records_until(lambda records: any(isinstance(r, Copy) and r.dst == name for r in records))
    copy = next(record for record in found if isinstance(record, Copy) and record.dst == name)
    assert (copy.asked, copy.dispatch, copy.path) == ("FICLONE", "dispatched", "reflink")


def test_only_in_a_mount_and_with_the_status_of_the_program(
    mount: Mounted, shell: Shell, tmp_path: Path
) -> None:
    assert re.search(r"args 2 filter 0", shell.do("probe 'x y' z"))
    shell.do(f"cd {mount.path}")
    assert re.search(r"args 2 filter 2", shell.do("probe 'x y' z"))
    set_ = "set -x STATUS 7" if shell.name == "fish" else "export STATUS=7"
    shell.do(set_)
    assert re.search(r"done\d+=7", shell.do("probe"))
    shell.do(f"cd {tmp_path}")
    assert re.search(r"args 0 filter 0.*done\d+=7", shell.do("probe"), re.S)


def test_an_alias_of_cp_stays(mount: Mounted, shell: Shell) -> None:
    """Defined before the hook or behind it; in fish an alias is a function, which is left alone."""
    shell.do("alias cp='cp -v'")
    shell.do(HOOK[shell.name].format(fusecopy=FUSECOPY))
    shell.do(f"cd {mount.path}")
    told = shell.do("cp --reflink=auto a v")
    assert re.search(r"'a' -> 'v'", told)
    if shell.name != "fish":
        assert re.search(r"'a' -> 'w'.*done\d+=0", shell.do("cp --reflink=always a w"), re.S)


def test_job_control(mount: Mounted, shell: Shell) -> None:
    again = HOOK[shell.name].format(fusecopy=FUSECOPY).replace("probe", "waiting")
    shell.do(again)
    shell.do(f"cd {mount.path}")
    shell.type("waiting\n")
    shell.until("ready")
    shell.type("\x1a")
    if shell.name == "fish":  # it says nothing of its own where a function was stopped
        shell.until(">|#")
        shell.type("jobs\n")
    shell.until("(?i)stopped|suspended")
    shell.type("fg\n")
    shell.until("woken")
    shell.type("\x03")
    ended = 0 if shell.name == "fish" else 130  # what fg itself returns in fish
    assert re.search(rf"done\d+={ended}", shell.status())


def test_what_no_shell_would_take_is_refused() -> None:
    for name in ("a/b", "a b", "$(x)", "-x;", "a;b", ""):
        done = run("hook", "bash", "--", name)
        assert (done.returncode, done.stdout) == (2, "")
        assert "is not the name of a program" in done.stderr
    assert run("hook", "csh").returncode == 2


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_nothing_else_is_defined(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"missing here: {name}")
    listing = "declare -F" if name == "bash" else "print -l ${(k)functions}"
    script = f"{HOOK[name].format(fusecopy=FUSECOPY)}; {listing}"
    done = subprocess.run([*START[name][:-1], "-c", script], capture_output=True, text=True, timeout=60)
    assert set(done.stdout.replace("declare -f ", "").split()) == {
        "__fusecopy_run",
        "cp",
        "duperemove",
        "filefrag",
        "probe",
    }
