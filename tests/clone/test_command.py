"""`fusecopy run` and `fusecopy shell` end, stop and take signals as the command they run."""

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.clone.running import plain, said, served
from tests.conftest import require
from tests.loopfs import MIB
from tests.mounted import FUSECOPY, mounted
from tests.reflink.files import noise

ANSWER_SECONDS = 15

ANSWERING = """
import os, signal, sys
signal.signal(signal.{name}, lambda *_: (os.write(1, b"got\\n"), sys.exit(7)))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture(autouse=True)
def needs() -> None:
    require("seccomp")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 3"), 3),
        (("sh", "-c", "kill -TERM $$"), -signal.SIGTERM),
        (("sh", "-c", "kill -KILL $$"), -signal.SIGKILL),
        (("sh", "-c", "kill -SEGV $$"), -signal.SIGSEGV),
        (("/nonexistent",), 127),
        (("no-such-command",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_status_is_the_commands(tmp_path: Path, command: Sequence[str], status: int) -> None:
    assert served(*command, cwd=tmp_path).returncode == status
    assert served("--", *command, cwd=tmp_path).returncode == status
    assert plain("env", *command, cwd=tmp_path).returncode == status


def test_command_not_found_is_told(tmp_path: Path) -> None:
    told = served("/nonexistent", cwd=tmp_path).stderr
    assert told == "fusecopy: /nonexistent: No such file or directory\n"


def test_options_of_the_command_are_its_own(tmp_path: Path) -> None:
    assert said(served("echo", "-n", "--help", "-x", cwd=tmp_path)) == "--help -x"


def test_without_command_is_a_mistake(tmp_path: Path) -> None:
    done = served(cwd=tmp_path)
    assert done.returncode == 2
    assert "no command to run" in done.stderr


def test_command_gets_what_it_would_get(tmp_path: Path) -> None:
    """Descriptors, signal mask and dispositions as without us; no_new_privs and the filter besides."""
    script = "ls /proc/self/fd | wc -l; grep -E '^(Sig|Shd)' /proc/self/status | grep -v SigQ"
    assert said(served("sh", "-c", script, cwd=tmp_path)) == said(plain("sh", "-c", script, cwd=tmp_path))
    status = said(served("grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status", cwd=tmp_path))
    assert status == "NoNewPrivs:\t1\nSeccomp:\t2\n"


def test_ignored_sigchld_stays_the_commands(tmp_path: Path) -> None:
    """Inherited, it would also keep the supervisor from being told of the command's end."""
    command = ("env", "--ignore-signal=CHLD", FUSECOPY, "run", "grep", "SigIgn", "/proc/self/status")
    assert said(plain(*command, cwd=tmp_path)) == f"SigIgn:\t{1 << signal.SIGCHLD - 1:016x}\n"


def test_script_without_interpreter_line(tmp_path: Path) -> None:
    """execvp(3) has the shell run it, with as many words as there are."""
    script = tmp_path / "script"
    script.write_text("echo $# $1")
    script.chmod(0o755)
    assert said(served(script, *("word" for _ in range(20_000)), cwd=tmp_path)) == "20000 word\n"


def _started(command: Sequence[str], cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [FUSECOPY, "run", *command], cwd=cwd, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_signal_to_the_supervisor_is_handed_on(tmp_path: Path, name: str) -> None:
    with _started([sys.executable, "-c", ANSWERING.format(name=name)], tmp_path) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
        run.send_signal(signal.Signals[name])
        assert run.stdout.readline() == "got\n"
        assert run.wait(10) == 7


def test_stopped_command_stops_the_supervisor(tmp_path: Path) -> None:
    with _started(["sh", "-c", "kill -STOP $$; echo again; exit 5"], tmp_path) as run:
        assert run.stdout is not None
        _, status = os.waitpid(run.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        run.send_signal(signal.SIGCONT)
        assert run.stdout.readline() == "again\n"
        assert run.wait(10) == 5


class Terminal:
    """An interactive shell with job control on a terminal of its own."""

    def __init__(self) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execvp("bash", ["bash", "--norc", "--noediting", "-i"])

    def type(self, text: str, until: str) -> None:
        """Type, and wait for what must come."""
        os.write(self._fd, text.encode())
        seen = b""
        while until.encode() not in seen:
            readable, _, _ = select.select([self._fd], [], [], ANSWER_SECONDS)
            assert readable, seen
            seen += os.read(self._fd, 4096)

    def end(self) -> None:
        """End the shell; what is left of its jobs gets the hangup of the terminal."""
        os.kill(self.pid, signal.SIGKILL)
        os.close(self._fd)
        os.waitpid(self.pid, 0)


WAKING = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"woken\\n"))
print("ready", flush=True)
while True: signal.pause()
"""


def test_job_control(tmp_path: Path) -> None:
    if not shutil.which("bash"):
        pytest.skip("missing here: bash")
    (tmp_path / "waking.py").write_text(WAKING)
    terminal = Terminal()
    try:
        terminal.type(f"{FUSECOPY} run {sys.executable} {tmp_path}/waking.py\n", "ready")
        terminal.type("\x1a", "Stopped")
        terminal.type("fg\n", "woken")
        terminal.type("\x03", "^C")
        terminal.type("echo sta''tus $?\n", "status 130")  # quoted, because the terminal echoes the line
    finally:
        terminal.end()


def test_shell_works_in_its_mount(btrfs: Path) -> None:
    require("fuse")
    directory = btrfs / "shell"
    directory.mkdir()
    (directory / "a").write_bytes(noise(MIB))
    with mounted(directory) as mount:
        done = subprocess.run(
            [FUSECOPY, "shell", mount.path],
            input="pwd; cp --reflink=always a b; exit 4\n",
            env={**os.environ, "SHELL": "/bin/sh"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (4, f"{mount.path}\n", "")
        assert mount.copies(1)[0].asked == "FICLONE"


def test_shell_wants_a_mount(tmp_path: Path) -> None:
    done = plain(FUSECOPY, "shell", tmp_path, cwd=tmp_path)
    assert done.returncode == 10
    assert "not the root of a fusecopy mount" in done.stderr
