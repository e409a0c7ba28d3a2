"""fusecopy top: copies as they happen."""

import sys
from dataclasses import replace
from datetime import datetime

import click

from fusecopy.cli.arguments import NAME
from fusecopy.cli.finding import find_log
from fusecopy.cli.selecting import selecting
from fusecopy.dispatch.selection import Selection
from fusecopy.errors import FusecopyError, UsageError


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1, type=NAME)
@selecting
@click.option("--all", "everything", is_flag=True, help="What happened since the mount began, too.")
def command(targets: tuple[str, ...], selection: Selection, everything: bool) -> None:
    """Watch copies as they happen, with sums and rates; from now on (or --since, --all).

    TARGET is a mount point or a log file, of which there may be several; without it, the only mount there is.
    It reads the log only, which has a copy when it has ended. Keys are shown at the bottom: hold the picture,
    sort it, open a copy to read its story.
    """
    if not sys.stdout.isatty():
        raise UsageError("top needs a terminal", "fusecopy log -F shows the same in lines.")
    try:
        from fusecopy.views.top import Top
    except ModuleNotFoundError as error:
        raise FusecopyError(
            f"top needs Textual, and {error.name} is not installed here", "pip install 'fusecopy[top]'"
        ) from error
    if not (selection.since or everything):
        selection = replace(selection, since=datetime.now().astimezone())
    Top([find_log(target) for target in targets or (None,)], selection).run()
