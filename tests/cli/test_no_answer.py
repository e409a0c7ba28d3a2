"""Every command with a path in a mount that does not answer: it ends, with words and a documented status."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from fusecopy import mounts
from fusecopy.cli.commands import COMMANDS
from fusecopy.errors import Exit
from tests.cli.commands import Place, background, run
from tests.mounted import FUSECOPY

pytestmark = [pytest.mark.fuse, pytest.mark.root]

BOUND_SECONDS = 60
"""Each command ends long before; it is what the test calls for ever on a loaded machine."""

FILE, ROOT, HERE = "FILE", "ROOT", "HERE"
"""A file in the mount, the mount point, and a file elsewhere."""

NOTHING = ["--", "true"]

BELOW = ("-r", ".", f"{HERE}.d")
"""The mount lies in the first of these trees."""

LINES: dict[str, list[list[str]]] = {
    "audit": [[ROOT, *NOTHING], ["-o", FILE, *NOTHING], ["--", FILE]],
    "check-server": [[ROOT], [FILE]],
    "clone": [[FILE, f"{HERE}.new"], [HERE, FILE], ["-r", ROOT, f"{HERE}.new"]],
    "cp": [["--how", "copy", *pair] for pair in ([FILE, HERE], [HERE, FILE], [HERE, ROOT])],
    "demo": [["--only", "1"]],
    "doctor": [[ROOT], [FILE]],
    "expect": [["-o", FILE, *NOTHING], ["reflink", "--junit", FILE, *NOTHING], ["--in", ROOT, *NOTHING]],
    "explain": [[FILE], ["--log", FILE, "1"], [FILE, "1"]],
    "faults": [[]],
    "hook": [["bash"]],
    "list": [[]],
    "log": [[FILE], [ROOT]],
    "metrics": [[ROOT], [ROOT, FILE]],
    "mount": [
        [ROOT, f"{HERE}.d"],
        [f"{HERE}.d", ROOT],
        [f"{HERE}.d", FILE],
        ["--log", FILE, ".", f"{HERE}.d"],
    ],
    "policy": [[ROOT], [ROOT, "strict"], [FILE]],
    "report": [["-o", f"{HERE}.html", ROOT], ["-o", f"{HERE}.html", FILE]],
    "run": [[FILE], ["--", FILE]],
    "shell": [[ROOT], [FILE]],
    "status": [[ROOT], [FILE]],
    "survey": [[ROOT]],
    "top": [[ROOT], [FILE]],
    "trace": [[ROOT, *NOTHING], ["--chrome", FILE, *NOTHING], ["--", FILE]],
    "umount": [[FILE]],
    "verify": [[FILE, HERE], [HERE, FILE], ["-r", ROOT, "."], [*BELOW], ["--pairs", f"{HERE}.pairs"]],
}
"""What each command is given. The mount lies below the current directory."""

ASK_NOBODY = {"demo", "faults", "hook", "list"}

OWN_FAILURE = 125

MAY_BE: dict[str, set[int]] = {
    "log": {Exit.OK, Exit.USAGE, Exit.MOUNT_POINT},  # ours is found by its record
    "report": {Exit.OK, Exit.USAGE, Exit.MOUNT_POINT},
    "top": {Exit.USAGE, Exit.MOUNT_POINT},  # it wants a terminal
    "explain": {Exit.USAGE, Exit.MOUNT_POINT},
    "mount": {Exit.MOUNT_POINT, Exit.BACKING, Exit.STALE},
    "audit": {Exit.USAGE, OWN_FAILURE},
    "trace": {Exit.USAGE, OWN_FAILURE},
    "expect": {OWN_FAILURE},
}
"""Statuses; of other commands that the mount cannot be used."""


@contextmanager
def stopped(there: Place) -> Iterator[Path]:
    (there.backing / "a").write_bytes(b"a" * 5000)
    with background(there) as pid:
        (there.point / "a").read_bytes()
        os.kill(pid, signal.SIGSTOP)
        try:
            yield there.point
        finally:
            os.kill(pid, signal.SIGCONT)
            os.statvfs(there.point)


@contextmanager
def dead(there: Place) -> Iterator[Path]:
    assert run("mount", "--log", there.log, there.backing, there.point).returncode == Exit.OK
    os.kill(int(os.getxattr(there.point, "user.fusecopy.pid")), signal.SIGKILL)
    try:
        yield there.point
    finally:
        subprocess.run(["umount", "-l", there.point], check=True, timeout=30)


@contextmanager
def foreign(there: Place) -> Iterator[Path]:
    """Another program's FUSE filesystem, stopped."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.foreign_fuse", there.point], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    with server.stdout:
        assert server.stdout.readline() == b"ready\n"
    (there.point / "a").read_bytes()
    server.send_signal(signal.SIGSTOP)
    try:
        yield there.point
    finally:
        server.send_signal(signal.SIGCONT)
        subprocess.run(["umount", there.point], check=True, timeout=30)
        server.wait(30)


@contextmanager
def automount(there: Place) -> Iterator[Path]:
    """A directory whose mounts are to be made by us, who do not. It answers by itself."""
    libc = ctypes.CDLL(None, use_errno=True)
    asked, asking = os.pipe()
    options = f"fd={asking},pgrp={os.getpgrp()},minproto=5,maxproto=5,indirect"
    failed = libc.mount(b"none", os.fsencode(there.point), b"autofs", 0, options.encode())
    try:
        if failed:
            pytest.skip(f"autofs: {os.strerror(ctypes.get_errno())}")
        yield there.point / "root"
    finally:
        if not failed:
            subprocess.run(["umount", "-l", there.point], check=True, timeout=30)
        os.close(asked)
        os.close(asking)


@pytest.mark.parametrize(
    "kind",
    [stopped, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (dead, foreign, automount))],
    ids=lambda kind: kind.__name__,
)
def test_every_command_ends(place: Place, kind: Callable[[Place], AbstractContextManager[Path]]) -> None:
    assert set(LINES) == set(COMMANDS)
    around = place.point.parent
    here = around / "here"
    here.write_bytes(b"a" * 5000)
    (around / "here.d").mkdir()

    def ended(command: str, words: list[str], root: Path) -> None:
        for name, path in ((FILE, root / "a"), (ROOT, root), (HERE, here)):
            words = [word.replace(name, str(path)) for word in words]
        with tempfile.TemporaryFile() as said:
            tried = subprocess.Popen(
                [FUSECOPY, command, *words],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=around,
                start_new_session=True,  # autofs serves our process group without asking
                env={**os.environ, "XDG_STATE_HOME": str(around / "state")},
            )
            try:
                status = tried.wait(BOUND_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(tried.pid, signal.SIGKILL)
                pytest.fail(f"{command} {words} waits for ever")
            said.seek(0)
            text = said.read().decode(errors="replace")
        assert "Traceback" not in text, f"{command} {words}: {text}"
        expected: set[int] = {Exit.OK} if command in ASK_NOBODY else MAY_BE.get(command, {Exit.MOUNT_POINT})
        assert status in expected, f"{command} {words}: {status} {text}"

    lines = [(command, words) for command, several in LINES.items() for words in several]
    if kind is automount:
        lines.remove(("verify", [*BELOW]))
    with kind(place) as root, ThreadPoolExecutor(len(lines)) as pool:
        (around / "here.pairs").write_bytes(b"%b\0%b\0" % (bytes(here), bytes(root / "a")))
        for done in [pool.submit(ended, *line, root) for line in lines]:
            done.result()
    assert mounts.at(str(around / "here.d")) is None
