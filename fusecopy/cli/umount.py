"""fusecopy umount: unmount and wait for the server to end."""

import errno
import os
import select
from collections.abc import Iterator
from pathlib import Path

import click

from fusecopy import mounts
from fusecopy.errors import MountPointError, UnmountError

SERVER_SECONDS = 30


@click.command()
@click.argument("mountpoint", type=click.Path())
@click.option("--lazy", is_flag=True, help="Detach it now, also while it is busy; do not wait.")
@click.option("--abort", is_flag=True, help="Fail everything under way in it, then detach it.")
def command(mountpoint: str, lazy: bool, abort: bool) -> None:
    """Unmount MOUNTPOINT and wait until its server has ended and its log is complete.

    Works on a mount whose server is gone, too. Where it is busy, the processes that hold it are named.
    """
    mount = _mount_at(mountpoint)
    path = mount.mountpoint
    if abort:
        mounts.abort(mount)
        mounts.unmount(path, lazy=True)
        return
    dead = _dead(path)
    server = None if lazy or dead else _server(path)
    try:
        mounts.unmount(path, lazy=lazy or dead)
    except UnmountError as error:
        holders = list(_holders(path))
        if holders:
            error.remedy = "held by " + ", ".join(holders) + "; end them, or use --lazy"
        raise
    if server is not None:
        _wait(server, path)


def _mount_at(mountpoint: str) -> mounts.Mount:
    """The mount there. The mount point itself is looked at last, because its server may hang."""
    parent, name = os.path.split(os.path.abspath(mountpoint))
    mount = mounts.at(os.path.join(os.path.realpath(parent), name)) or mounts.at(os.path.realpath(mountpoint))
    if not mount or mount.fstype != mounts.FSTYPE:
        raise MountPointError(f"{mountpoint}: fusecopy has no mount there", "fusecopy list shows them")
    return mount


def _dead(path: str) -> bool:
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def _server(path: str) -> int | None:
    """A descriptor of the server's process, by the number that the mount itself gives."""
    try:
        return os.pidfd_open(int(os.getxattr(path, "user.fusecopy.pid")))
    except (OSError, ValueError):
        return None


def _wait(server: int, path: str) -> None:
    poll = select.poll()
    poll.register(server, select.POLLIN)
    ended = poll.poll(SERVER_SECONDS * 1000)
    os.close(server)
    if not ended:
        raise UnmountError(
            f"{path} is unmounted, but its server still runs after {SERVER_SECONDS} s",
            "somebody may hold a file of a lazily detached mount open",
        )


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
