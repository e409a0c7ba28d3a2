"""fusecopy list: the mounts of fusecopy."""

import click

from fusecopy import asking, mounts, running
from fusecopy.terminal import printable, say
from fusecopy.views.format import Column, header, row

SECONDS = 2.0
"""For the answer of a server that has left no record."""

DEAD, UNKNOWN = "dead", "?"


@click.command()
def command() -> None:
    """List the mounts of fusecopy with the process that serves each; `dead` where it is gone, `?` where that
    cannot be known: it does not answer, or is another user's."""
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
    told = running.of(mount)
    if told and (lives := told.lives()) is not None:
        return str(told.pid) if lives else DEAD
    try:
        return asking.attributes(mount, "pid", seconds=SECONDS)[0]
    except OSError as error:
        return DEAD if error.errno in asking.GONE else UNKNOWN
