"""What the starter leaves behind and the server must not live by, and the modes of what the server makes."""

import os
import resource
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cli.commands import Place, background, run
from tests.mounted import FUSECOPY

pytestmark = [pytest.mark.fuse, pytest.mark.root]

IGNORED_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}

HOSTILE = """
import os, resource, signal, sys
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
    resource.setrlimit(limit, (100, resource.getrlimit(limit)[1]))
os.umask(int(sys.argv[1], 8))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A starter that blocks and ignores every signal, has low limits, and the umask given."""


def under(umask: str) -> tuple[str, ...]:
    return "python3", "-c", HOSTILE, umask


def signals(pid: int, field: str) -> set[int]:
    """What /proc/PID/status says of SigBlk or SigIgn."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith(f"{field}:"))
    return {number for number in range(1, 65) if mask >> number - 1 & 1}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def started(place: Place, redirections: str) -> "subprocess.CompletedProcess[str]":
    """A mount from a shell with these redirections."""
    script = f'exec {redirections}; "$@"'
    command = [FUSECOPY, "mount", "--log", str(place.log), str(place.backing), str(place.point)]
    return subprocess.run(
        ["sh", "-c", script, "-", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


def test_signals_and_limits_of_the_starter_do_not_reach_the_server(place: Place) -> None:
    with background(place, prefix=under("022")) as pid:
        assert signals(pid, "SigBlk") == set()
        assert signals(pid, "SigIgn") == IGNORED_BY_PYTHON
        for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CPU):
            soft, _ = resource.prlimit(pid, limit)
            assert soft == resource.getrlimit(limit)[1]
        (place.point / "long").write_bytes(bytes(1000))
        os.kill(pid, signal.SIGHUP)
        assert run("log", place.point).returncode == 0


@pytest.mark.parametrize("umask", ["000", "777"])
def test_what_the_server_makes_has_its_mode_whatever_the_umask(place: Place, umask: str) -> None:
    log = place.log.parent / "new" / "deeper" / "log.jsonl"
    with background(Place(place.backing, place.point, log), prefix=under(umask)) as pid:
        os.kill(pid, signal.SIGUSR1)
        assert run("log", place.point).returncode == 0
        made = place.point / "of a program"
        os.close(os.open(made, os.O_CREAT | os.O_WRONLY, 0o604))
        assert mode(made) == 0o604 & ~current_umask()
    assert [mode(path) for path in (log, log.parent, log.parent.parent)] == [0o600, 0o700, 0o700]
    assert mode(log.with_suffix(".diagnostics")) == 0o600


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_descriptors_of_the_starter_are_not_held(place: Place) -> None:
    held = [place.log.with_name(f"held{number}") for number in range(3)]
    extra = " ".join(f"{number}>{path}" for number, path in zip((3, 9, 200), held, strict=True))
    with background(place, prefix=("bash", "-c", f'exec {extra}; exec "$@"', "-")) as pid:
        assert all(path.exists() for path in held)
        assert not open_files(pid) & set(map(str, held))


def test_a_server_in_the_foreground_lets_go_as_well(place: Place) -> None:
    held = place.log.with_name("held")
    command = [FUSECOPY, "mount", "-f", "--log", str(place.log), str(place.backing), str(place.point)]
    with held.open("w") as file:
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, pass_fds=[file.fileno()], cwd=place.log.parent
        )
    assert server.stdout is not None
    try:
        assert server.stdout.readline().startswith(b"mounted ")
        assert str(held) not in open_files(server.pid)
        assert os.readlink(f"/proc/{server.pid}/cwd") == "/"
    finally:
        run("umount", place.point)
        server.stdout.close()
        assert server.wait(30) == 0


def open_files(pid: int) -> set[str]:
    return {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_mounts_where_standard_streams_are_closed(place: Place, closed: str) -> None:
    assert started(place, closed).returncode == 0
    try:
        pid = int(os.getxattr(place.point, "user.fusecopy.pid"))
        assert [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
        (place.point / "a").write_text("content")
    finally:
        assert run("umount", place.point).returncode == 0
    assert not place.log.with_suffix(".diagnostics").exists()


def test_a_refused_mount_has_its_status_where_children_are_not_waited_for(place: Place) -> None:
    done = run("mount", "--log", "/dev/null", place.backing, place.point, prefix=under("022"))
    assert done.returncode == 22
    assert "Traceback" not in done.stderr


def test_output_does_not_go_into_a_file_that_took_a_closed_streams_number(place: Place) -> None:
    source, target = place.backing / "a", place.backing / "b"
    source.write_bytes(b"content" * 1000)
    done = subprocess.run(
        ["sh", "-c", 'exec 0<&- 1>&- 2>&-; "$@"', "-", FUSECOPY, "cp", "--how", "copy", source, target],
        timeout=60,
    )
    assert done.returncode == 0
    assert target.read_bytes() == source.read_bytes()
