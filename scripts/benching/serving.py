"""One peer's mount, from its server's start to its end; whatever goes wrong, nothing stays mounted."""

import re
import resource
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benching.commands import BenchError, environment, run
from benching.peers import Kind, Peer
from benching.tools import Tool
from fusecopy import mounts
from fusecopy.errors import FusecopyError
from fusecopy.interrupts import undisturbed

READY_SECONDS = 30.0
END_SECONDS = 10.0
FUSECTL = Path("/sys/fs/fuse/connections")

MEMORY = re.compile(r"^(VmHWM|VmRSS):\s+(\d+) kB$", re.MULTILINE)


class NotServedError(BenchError):
    """A peer did not get its mount ready."""


@dataclass(frozen=True, slots=True)
class Served:
    """A mount, or the backing itself.

    Attributes:
        path: the directory that the client works in.
        pid: of the server; 0 for the backing itself.
        device: st_dev of everything in it; 0 for the backing itself.
        connection: the FUSE connection's number; 0 for the backing itself.
    """

    path: Path
    pid: int = 0
    device: int = 0
    connection: int = 0

    def memory(self) -> dict[str, int]:
        """The server's VmRSS and VmHWM (the most it ever was) in KiB; nothing for the backing itself."""
        if not self.pid:
            return {}
        status = Path(f"/proc/{self.pid}/status").read_text()
        return {name: int(kib) for name, kib in MEMORY.findall(status)}

    def abort(self) -> None:
        """End the connection, which frees whoever hangs in it."""
        mount = mounts.at(str(self.path)) if self.pid else None
        if mount:
            mounts.abort(mount)


@contextmanager
def served(peer: Peer, tool: Tool, backing: Path, scratch: Path) -> Iterator[Served]:
    """The mount of a peer.

    Raises:
        NotServedError: it did not get ready, with what it said.
    """
    if peer.kind is Kind.NATIVE:
        yield Served(backing)
        return
    point, said = scratch / "mnt", scratch / "said"
    for directory in (point, scratch / "lower"):
        directory.mkdir(exist_ok=True)
    for old in scratch.glob("log.jsonl*"):
        old.unlink()
    process = None
    try:
        with undisturbed():
            process = _start(peer.filled(tool, backing, point, scratch), said)
        mount = _ready(process, point, said)
        yield Served(point, process.pid, mount.device, mount.connection)
    finally:
        with undisturbed():
            if process:
                _end(process, point)


def _start(command: list[str], said: Path) -> "subprocess.Popen[bytes]":
    with said.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
            start_new_session=True,
        )


def _ready(process: "subprocess.Popen[bytes]", point: Path, said: Path) -> mounts.Mount:
    """Wait until something is mounted."""
    deadline = time.monotonic() + READY_SECONDS
    with open("/proc/self/mountinfo", "rb") as table:
        poll = select.poll()
        poll.register(table, select.POLLERR | select.POLLPRI)  # the table has changed: proc_pid_mounts(5)
        while time.monotonic() < deadline:
            mount = mounts.at(str(point))
            if mount:
                return mount
            if process.poll() is not None:
                raise NotServedError(last_words(said) or f"ended with status {process.returncode}")
            poll.poll(50)
    raise NotServedError(f"not mounted after {READY_SECONDS:.0f} s: {last_words(said)}")


def last_words(said: Path) -> str:
    """What a server said about its end: the line that speaks of an error, else the last."""
    lines = [line.strip() for line in said.read_text(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line or "unknown" in line]
    return (telling or lines or [""])[-1]


def _end(process: "subprocess.Popen[bytes]", point: Path) -> None:
    """Unmount; a server that does not end is killed, its connection aborted so that nobody hangs in it."""
    with suppress(FusecopyError):
        mounts.unmount(str(point))
    left = mounts.at(str(point))
    try:
        process.wait(0 if left else END_SECONDS)
    except subprocess.TimeoutExpired:
        if left:
            mounts.abort(left)
        process.kill()
        process.wait(END_SECONDS)
    while mounts.at(str(point)):
        mounts.unmount(str(point), lazy=True)


@contextmanager
def fusectl() -> Iterator[None]:
    """The files that abort connections; unmounted at the end if they were not there before."""
    if any(mount.fstype == "fusectl" for mount in mounts.mounts()):
        yield
        return
    run("mount", "-t", "fusectl", "none", FUSECTL)
    try:
        yield
    finally:
        run("umount", "--lazy", FUSECTL)


def raise_descriptor_limit() -> None:
    """Let servers have all descriptors that are allowed: some need one for each file that they know."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
