"""fusecopy report: a log as one page of HTML."""

import gc
import os
from pathlib import Path

import click

from fusecopy.cli.arguments import NAME, PATH
from fusecopy.cli.finding import find_log
from fusecopy.cli.selecting import selecting
from fusecopy.dispatch.reader import batches
from fusecopy.dispatch.selection import Selection
from fusecopy.errors import UsageError
from fusecopy.terminal import say


@click.command()
@click.argument("targets", metavar="[TARGET]...", nargs=-1, type=NAME)
@click.option("-o", "--output", required=True, metavar="FILE.html", type=PATH, help="Where to write it.")
@selecting
@click.option("--all", "everything", is_flag=True, help="Earlier mounts too, not only the newest.")
def command(targets: tuple[str, ...], output: Path, selection: Selection, everything: bool) -> None:
    """Write what a log says as one page of HTML, which needs no network and no other file.

    TARGET is a mount point or a log file; several are told of together; without it, the only mount there is.
    The page has the way of the bytes for each path, a timeline, what a fallback costs, why copies were no
    reflinks and what would mend it, sums by program and directory, and the copies that took longest.
    """
    from fusecopy.views.digest import Digest
    from fusecopy.views.report import page

    logs = [find_log(target) for target in targets or (None,)]
    for log in logs:
        if output.exists() and log.exists() and os.path.samefile(output, log):
            raise UsageError(f"{output} is the log itself", "Name another file for the page.")
    digest = Digest()
    gc.disable()  # as in `log -c`
    for log in logs:
        for records in batches(log, since_mount=not everything):
            digest.add_all(selection.of(records))
    output.write_text(page(digest), encoding="utf-8")
    say(f"{output}: {digest.summary.total.copies} copies")
