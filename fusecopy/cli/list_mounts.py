"""fusecopy list: the mounts of fusecopy."""

import os

import click

from fusecopy import mounts
from fusecopy.cli.format import Column, header, row
from fusecopy.terminal import printable, say


@click.command()
def command() -> None:
    """List the mounts of fusecopy with the process that serves each; `dead` where it is gone."""
    there = mounts.ours()
    longest = max([len("BACKING"), *(len(printable(mount.source)) for mount in there)])
    columns = [
        Column("PID", 7),
        Column("CONN", 5, number=True),
        Column("BACKING", longest),
        Column("MOUNTPOINT", 0),
    ]
    say(header(columns))
    for mount in there:
        say(row(columns, [_pid(mount), str(mount.connection), mount.source, mount.mountpoint]))


def _pid(mount: mounts.Mount) -> str:
    try:
        return os.getxattr(mount.mountpoint, "user.fusecopy.pid").decode()
    except OSError:
        return "dead"
