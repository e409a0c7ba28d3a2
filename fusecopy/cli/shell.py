"""fusecopy shell: a shell in a mount, whose reflink ioctls work there."""

import os

import click

from fusecopy import asking
from fusecopy.cli.arguments import NAME, check_command_answers, no_answer, served
from fusecopy.errors import MountPointError

DEFAULT_SHELL = "/bin/sh"


@click.command()
@click.argument("mountpoint", type=NAME)
def command(mountpoint: str) -> None:
    """Start a shell in MOUNTPOINT, as by `fusecopy run`: what it starts may clone there.

    The shell is $SHELL, or /bin/sh. The exit status is the shell's.
    """
    from fusecopy.clone.start import run

    mount = served(mountpoint)
    try:
        asking.attributes(mount, "pid")  # to go there ourselves might be beyond every signal
    except OSError as error:
        raise no_answer(mountpoint, error) from error
    try:
        os.chdir(mountpoint)
    except OSError as error:
        raise MountPointError(f"{mountpoint}: {error.strerror}", "fusecopy list shows its state") from error
    shell = os.environ.get("SHELL") or DEFAULT_SHELL
    check_command_answers(shell)
    run([shell])
