"""fusecopy metrics: what mounts have done, as text for Prometheus."""

import os

import click

from fusecopy import asking, mounts
from fusecopy.cli.arguments import NAME, no_answer, served
from fusecopy.errors import Exit, FusecopyError
from fusecopy.exposition import merged
from fusecopy.terminal import complain


@click.command()
@click.argument("mountpoints", metavar="[MOUNTPOINT]...", nargs=-1, type=NAME)
def command(mountpoints: tuple[str, ...]) -> int:
    """Print what mounts have done since they began as text for Prometheus: each MOUNTPOINT, or every mount of
    yours (of anybody, for root).

    Each sample has its mount point as a label. A timer may write them to a file for node_exporter's textfile
    collector. A mount's attribute user.fusecopy.metrics has the same text without that label.
    """
    texts: dict[str, str] = {}
    status = Exit.OK
    for mountpoint in mountpoints or _own():
        try:
            texts[mounts.resolved(mountpoint)] = _told(mountpoint)
        except FusecopyError as error:
            complain(error)
            status = error.exit_status
    for line in merged(texts, "mountpoint"):
        click.echo(line.encode(errors="replace"))  # not for people, whose terminal may obey a name
    return status


def _own() -> list[str]:
    me = os.geteuid()
    return sorted({mount.mountpoint for mount in mounts.ours() if me in (0, mount.owner[0])})


def _told(mountpoint: str) -> str:
    """A mount's metrics. Raises MountPointError where it is none of ours, or does not answer."""
    try:
        return asking.attributes(served(mountpoint), "metrics")[0]
    except OSError as error:
        raise no_answer(mountpoint, error) from error
