"""The commands. Each module holds one; they are imported when asked for, because most need no FUSE."""

import importlib
import os
import sys
from collections.abc import Sequence

import click

from fusecopy.cli import fail
from fusecopy.errors import Exit, FusecopyError
from fusecopy.terminal import escape_what_cannot_be_encoded, say

COMMANDS = {
    "audit": "run a command and check that program, kernel, server and extents agree",
    "check-server": "try out whether a FUSE server is right about copies",
    "clone": "clone a file or a whole tree, in a mount by one request or elsewhere",
    "cp": "copy one file in one way or not at all",
    "demo": "show on a scratch mount how copies travel",
    "doctor": "measure what a directory and this machine can do",
    "expect": "run a command and judge its copies, in a mount or not",
    "explain": "tell the whole story of one copy",
    "faults": "list the faults that copies can be made to meet",
    "hook": "have one's own shell serve cp --reflink in mounts",
    "list": "list the mounts of fusecopy",
    "log": "show what became of each copy",
    "metrics": "what mounts have done, as text for Prometheus",
    "mount": "serve a directory at a mount point",
    "policy": "show or change how a mount answers copies",
    "report": "write a log as one page of HTML",
    "run": "run a command with reflink ioctls that work in mounts",
    "shell": "start a shell in a mount whose commands may clone there",
    "status": "show what a mount has done, and what the kernel no longer asks it",
    "survey": "which programs copy by which path, run and watched here",
    "top": "watch copies as they happen",
    "trace": "run a command and show its copies, system call by system call",
    "umount": "unmount and wait for the server to end",
    "verify": "prove how much of a file shares extents with another",
}
"""Name and one line of help; the module has the same name, with _ for what Python or we use otherwise."""

MODULES = {"list": "list_mounts", "cp": "copy", "check-server": "check_server"}


class _Commands(click.Group):
    """Commands that are loaded only when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"fusecopy.cli.{MODULES.get(name, name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


def _version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from fusecopy.cli.version import describe

        say(describe())
        ctx.exit()


@click.group(
    cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show versions."
)
@click.pass_context
def fusecopy(ctx: click.Context) -> None:
    """A passthrough file system that says what became of every copy made inside it."""
    if ctx.invoked_subcommand is None:
        for line in ctx.get_help().splitlines():
            say(line, sys.stderr)
        ctx.exit(Exit.USAGE)


def _show(error: click.ClickException) -> None:
    """As click does, but for what it quotes from the command line."""
    if isinstance(error, click.UsageError) and error.ctx:
        for line in [
            *error.ctx.get_usage().split("\n"),
            f"Try '{error.ctx.command_path} --help' for help.",
            "",
        ]:
            say(line, sys.stderr)
    message = f"Error: {error.format_message()}"
    # Of the choices that are missing click makes a list; elsewhere a line break is a part of a name.
    for line in message.split("\n") if isinstance(error, click.MissingParameter) else [message]:
        say(line.expandtabs(4), sys.stderr)


def _of_system(error: OSError) -> FusecopyError:
    """What a command has no better words for."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return FusecopyError("the current directory is gone", "cd to another one")
    names = " -> ".join(os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None)
    return FusecopyError(": ".join(part for part in (names, error.strerror or str(error)) if part))


def main(arguments: Sequence[str]) -> None:
    """Run a command; errors for people go to stderr, each with its exit status."""
    escape_what_cannot_be_encoded()
    try:
        status = fusecopy.main(arguments, prog_name="fusecopy", standalone_mode=False)
    except FusecopyError as error:
        fail(error)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except OSError as error:
        fail(_of_system(error))
    except click.Abort:
        sys.exit(Exit.FAILURE)
    sys.exit(status if isinstance(status, int) else Exit.OK)
