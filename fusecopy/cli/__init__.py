"""The command line. `run` is dispatched before the others and click are imported: its COMMAND waits."""

import sys

TYPE_CHECKING = False  # as in fusecopy.clone.start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from fusecopy.errors import FusecopyError


def main(arguments: "Sequence[str] | None" = None) -> None:
    """Entry point of `fusecopy`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = _command_to_run(words)
    if command:
        _run(command)
    from fusecopy.cli import commands, inherited

    inherited.fill_streams()
    inherited.take_children()

    commands.main(words)


def fail(error: "FusecopyError") -> "NoReturn":
    """Show an error and end with its status."""
    from fusecopy.terminal import complain

    complain(error)
    sys.exit(error.exit_status)


def _command_to_run(words: list[str]) -> list[str]:
    """COMMAND of `fusecopy run`; empty where that has options, or a path that is looked at first, or where
    anything else is asked for."""
    if words[:1] != ["run"]:
        return []
    command = words[2:] if words[1:2] == ["--"] else words[1:]
    named = bool(command) and "/" not in command[0]
    return command if named and (words[1] == "--" or not words[1].startswith("-")) else []


def _run(command: list[str]) -> "NoReturn":
    from fusecopy.clone.start import run

    try:
        run(command)
    except Exception as error:
        from fusecopy.errors import FusecopyError

        if isinstance(error, FusecopyError):
            fail(error)
        raise
