"""fusecopy run: a command whose reflink ioctls work in mounts of fusecopy, or whose copies meet faults."""

import click

from fusecopy.cli.arguments import check_command_answers
from fusecopy.errors import UsageError
from fusecopy.faults.rules import WORDS, Faults, parse


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--fault",
    "rules",
    multiple=True,
    metavar="NAME[,WORD...]",
    help=f"Have COMMAND's copies meet a fault of fusecopy faults; may be repeated. Words: {WORDS}.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(rules: tuple[str, ...], words: tuple[str, ...]) -> None:
    """Run COMMAND with FICLONE, FICLONERANGE, FIDEDUPERANGE and FIEMAP served on mounts of fusecopy.

    The kernel refuses these ioctls on every FUSE mount, so `cp --reflink=always` fails there. Under
    `fusecopy run` COMMAND, and all that it starts, gets from them a clone, or the backing's own error.
    Everything else goes on as without it.

    With --fault, in a mount or not, what copy_file_range, FICLONE or sendfile answers is what that fault
    has: an error, less than was asked for, or a count that is wrong. No source is ever touched. In the
    end it is told how many calls met it. Programs of 32 bits meet none.

    A set-user-ID program such as sudo gains no rights under it (no_new_privs): put `sudo` before
    `fusecopy run`, not behind. Programs that outlive COMMAND get ENOSYS for these ioctls.

    The exit status is COMMAND's; 127 if it is not found, 126 if it cannot be run.
    """
    from fusecopy.clone.start import run

    faults = Faults(map(parse, rules))
    if not words:
        raise UsageError("no command to run", "fusecopy run cp --reflink=always A B; or fusecopy shell MNT")
    check_command_answers(words[0])
    run(words, faults)
