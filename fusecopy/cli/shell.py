"""fusecopy shell: a shell in a mount, whose reflink ioctls work there."""

import os

import click

from fusecopy import mounts
from fusecopy.errors import MountPointError

DEFAULT_SHELL = "/bin/sh"


@click.command()
@click.argument("mountpoint", type=click.Path())
def command(mountpoint: str) -> None:
    """Start a shell in MOUNTPOINT, as by `fusecopy run`: what it starts may clone there.

    The shell is $SHELL, or /bin/sh. The exit status is the shell's.
    """
    from fusecopy.clone.start import run

    mount = mounts.at(mountpoint)
    if mount is None or mount.fstype != mounts.FSTYPE:
        raise MountPointError(f"{mountpoint}: not a mount of fusecopy", "fusecopy list shows them")
    try:
        os.chdir(mountpoint)
    except OSError as error:
        raise MountPointError(f"{mountpoint}: {error.strerror}", "fusecopy list shows its state") from error
    run([os.environ.get("SHELL") or DEFAULT_SHELL])
