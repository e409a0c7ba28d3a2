"""fusecopy list: the mounts of fusecopy."""

import os

import click

from fusecopy import mounts
from fusecopy.cli.format import Column, header, row

COLUMNS = [Column("PID", 7), Column("CONN", 5, number=True), Column("BACKING", 30), Column("MOUNTPOINT", 0)]


@click.command()
def command() -> None:
    """List the mounts of fusecopy with the process that serves each; `dead` where it is gone."""
    click.echo(header(COLUMNS))
    for mount in mounts.ours():
        click.echo(row(COLUMNS, [_pid(mount), str(mount.connection), mount.source, mount.mountpoint]))


def _pid(mount: mounts.Mount) -> str:
    try:
        return os.getxattr(mount.mountpoint, "user.fusecopy.pid").decode()
    except OSError:
        return "dead"
