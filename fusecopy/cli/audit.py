"""fusecopy audit: run a command and check that program, kernel, server and extents agree."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

from fusecopy.cli.arguments import PATH
from fusecopy.cli.trace import Traced, own_failures, written_to
from fusecopy.errors import Exit
from fusecopy.observe import words
from fusecopy.observe.audit import Check, judge
from fusecopy.observe.recording import BUFFER_KIB, record
from fusecopy.observe.stories import tell
from fusecopy.terminal import say


@click.command("audit", cls=Traced)
@click.argument("points", nargs=-1, metavar="[MNT]...")
@click.option("-o", "output", type=PATH, help="Write there, not to standard error.")
@click.option(
    "--buffer", type=click.IntRange(1), default=BUFFER_KIB, metavar="KIB", help="Trace buffer for each CPU."
)
@click.pass_obj
def command(arguments: list[str], points: tuple[str, ...], output: Path | None, buffer: int) -> int:
    """Run COMMAND and check each of its copies in the mounts MNT, or in every FUSE mount: what the program
    was told against the kernel's requests, those against the server's log and the server's own system calls,
    and the bytes said to be shared against the extents.

    Works on any FUSE mount; the log and the extents are checked where fusecopy serves. Needs root and
    tracefs. The exit status is 1 if anything disagrees or was lost; otherwise COMMAND's, 128 and the number
    for a signal; 125 if tracing failed, 126 or 127 if COMMAND cannot be run or found.
    """
    with own_failures(), written_to(output) as out:
        recording = record(arguments, points, buffer)
        told = tell(recording)
        checks = judge(recording, told)
        _report(len(told.stories), checks, out)
        lost = words.loss(recording)
        if lost:
            say(f"lost: {lost}", out)
    failed = lost or any(check.agrees is False for check in checks)
    return Exit.FAILURE if failed else recording.status


def _report(copies: int, checks: Sequence[Check], out: IO[str]) -> None:
    say("1 copy" if copies == 1 else f"{copies} copies", out)
    for what in sorted({check.what for check in checks}):
        counts = Counter(check.agrees for check in checks if check.what == what)
        say(
            f"{what}: {counts[True]} agree, {counts[False]} disagree, {counts[None]} could not be checked",
            out,
        )
    for check in checks:
        if check.agrees is False:
            say(f"disagreement: {check.text}", out)
    for check in checks:
        if check.agrees is None:
            say(f"not checked: {check.text}", out)
