"""fusecopy umount: unmount and wait for the server to end."""

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from fusecopy import asking, bounded, mounts, running
from fusecopy.cli.arguments import NAME
from fusecopy.errors import MountPointError, UnmountError

SERVER_SECONDS = 30

ELSEWHERE_SECONDS = 5
"""Where the mount lives on in another place: that may be a container that is just being made or removed."""

UNMOUNT_SECONDS = 10
"""What the kernel is given to write what the mount's files have in memory."""


@click.command()
@click.argument("mountpoint", type=NAME)
@click.option("--lazy", is_flag=True, help="Detach it now, also while it is busy; do not wait.")
@click.option("--abort", is_flag=True, help="Fail everything under way in it, then detach it.")
def command(mountpoint: str, lazy: bool, abort: bool) -> None:
    """Unmount MOUNTPOINT and wait until its server has ended and its log is complete.

    Works on a mount whose server is gone, too. Where it is busy, the processes that hold it are named.
    --lazy and --abort ask the server nothing.
    """
    mount = _mount_at(mountpoint)
    if abort:
        mounts.abort(mount)
    if abort or lazy:
        mounts.unmount(mount.mountpoint, lazy=True)
        return
    try:
        server = _server(mount)
    except OSError as error:
        if error.errno in asking.GONE:
            mounts.unmount(mount.mountpoint, lazy=True)
            return
        server = None
    _unmount(mount.mountpoint)
    if server is None or _is_stopped(server):
        raise UnmountError(
            f"{mount.mountpoint} is unmounted, but its server did not answer, so its end was not waited for"
        )
    _wait(server, mount)


def _mount_at(mountpoint: str) -> mounts.Mount:
    """The mount there. The mount point itself is never looked at, because its server may hang."""
    path = mounts.resolved(mountpoint)
    there = mounts.stacked(path)
    if there and there[0].fstype == mounts.FSTYPE:
        return there[0]
    if any(mount.fstype == mounts.FSTYPE for mount in there):
        top = there[0]
        raise UnmountError(
            f"{mountpoint}: another mount ({top.fstype}, {top.source}) lies on fusecopy's", f"umount {path}"
        )
    raise MountPointError(f"{mountpoint}: fusecopy has no mount there", "fusecopy list shows them")


class _Server(NamedTuple):
    """The process that serves a mount: its number, and a descriptor of it."""

    number: int
    pidfd: int


def _server(mount: mounts.Mount) -> _Server | None:
    """The server, by its record, or else by the number that the mount itself gives; None where it does not
    answer, or is in another pid namespace. Where requests come by io_uring, asking a stopped server keeps
    the mount busy until that goes on: a request that is with the server cannot be taken back.

    Raises:
        OSError: it cannot be asked, as where the server is gone.
    """
    told = running.of(mount)
    try:
        number = told.pid if told and told.lives() else int(asking.attributes(mount, "pid")[0])
    except (TimeoutError, ValueError):
        return None
    try:
        return _Server(number, os.pidfd_open(number))
    except OSError:
        return None


def _is_stopped(server: _Server) -> bool:
    """Whether a signal or a tracer has stopped it: then it does not end, and does not answer either."""
    try:
        state = Path(f"/proc/{server.number}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state in (b"T", b"t")


def _unmount(path: str) -> None:
    try:
        bounded.call(lambda: mounts.unmount(path), UNMOUNT_SECONDS)
    except TimeoutError as error:
        raise UnmountError(
            f"{path}: could not be unmounted within {UNMOUNT_SECONDS} s", f"fusecopy umount --abort {path}"
        ) from error
    except UnmountError as error:
        holders = list(_holders(path))
        error.remedy = "fusecopy umount --lazy detaches it all the same"
        if holders:
            error.remedy = "held by " + ", ".join(holders) + "; end them, or use --lazy"
        raise


def _wait(server: _Server, mount: mounts.Mount) -> None:
    path = mount.mountpoint
    poll = select.poll()
    poll.register(server.pidfd, select.POLLIN)
    left = list(mounts.elsewhere(mount.device))
    ended = poll.poll((ELSEWHERE_SECONDS if left else SERVER_SECONDS) * 1000)
    os.close(server.pidfd)
    if ended:
        return
    left = list(mounts.elsewhere(mount.device))
    if left:
        places = ", ".join(_place(*place) for place in left)
        raise UnmountError(
            f"{path} is unmounted, but its server still serves it at {places}", "unmount it there, too"
        )
    raise UnmountError(
        f"{path} is unmounted, but its server still runs after {SERVER_SECONDS} s",
        "somebody may hold a file of a lazily detached mount open",
    )


def _place(process: int, mountpoint: str) -> str:
    if not process:
        return mountpoint
    return f"{mountpoint} in the mount namespace of {_comm(Path(f'/proc/{process}'))} (pid {process})"


def _holders(mountpoint: str) -> Iterator[str]:
    """Processes that have a file, a directory or a program below a mount point open, as far as we may look.

    The links of /proc are read and not followed: to follow them would ask the server, which may not answer.
    """
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid() and _holds(process, mountpoint):
            yield f"{_comm(process)} (pid {process.name})"


def _holds(process: Path, mountpoint: str) -> bool:
    links = [process / "cwd", process / "root", process / "exe"]
    try:
        links += (process / "fd").iterdir()
    except OSError:
        return False
    return any(_target(link) == mountpoint or _target(link).startswith(f"{mountpoint}/") for link in links)


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _comm(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
