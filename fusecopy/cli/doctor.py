"""fusecopy doctor: measure what a directory and this machine can do for copies."""

import json
import textwrap
from pathlib import Path

import click

from fusecopy.doctor import place, serving, watching
from fusecopy.doctor.findings import Finding
from fusecopy.terminal import printable, say

NAME, STATE = 16, 7
"""Widths of the first two columns."""

WIDTH = 79


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="A list of objects: name, state, found, meaning.")
def command(directory: Path | None, as_json: bool) -> None:
    """Measure what this machine, and with DIR that directory, can do for copies.

    Each line says ok, limited, missing or unknown, what was measured, and what it means. In DIR it is tried
    out on files without names. The status is 0 whatever is found, and 11 where DIR cannot be used.
    """
    here = place.examine(str(directory)) if directory else []
    findings = [*here, *serving.examine(), *watching.examine()]
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
        return
    for finding in findings:
        for line in _lines(finding):
            say(line)


def _lines(finding: Finding) -> list[str]:
    """A finding within WIDTH columns, on further lines where it needs them."""
    start = f"{finding.name:{NAME}} {finding.state!s:{STATE}} "
    text = printable(f"{finding.found}: {finding.meaning}")
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
