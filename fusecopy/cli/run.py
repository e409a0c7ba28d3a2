"""fusecopy run: a command whose reflink ioctls work in the mounts of fusecopy."""

import click

from fusecopy.errors import UsageError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(words: tuple[str, ...]) -> None:
    """Run COMMAND with FICLONE, FICLONERANGE, FIDEDUPERANGE and FIEMAP served on mounts of fusecopy.

    The kernel refuses these ioctls on every FUSE mount, so `cp --reflink=always` fails there. Under
    `fusecopy run` COMMAND, and all that it starts, gets from them a clone, or the backing's own error.
    Everything else goes on as without it.

    A set-user-ID program such as sudo gains no rights under it (no_new_privs): put `sudo` before
    `fusecopy run`, not behind. Programs that outlive COMMAND get ENOSYS for these ioctls.

    The exit status is COMMAND's; 127 if it is not found, 126 if it cannot be run.
    """
    from fusecopy.clone.start import run

    if not words:
        raise UsageError("no command to run", "fusecopy run cp --reflink=always A B; or fusecopy shell MNT")
    run(words)
