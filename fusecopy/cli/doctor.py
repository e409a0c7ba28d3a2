"""fusecopy doctor: measure what a directory and this machine can do for copies."""

import json
import textwrap
from pathlib import Path

import click

from fusecopy.cli.arguments import PATH
from fusecopy.doctor import place, serving, watching
from fusecopy.doctor.findings import Finding, State
from fusecopy.errors import RequirementError, UsageError
from fusecopy.terminal import printable, say

NAME, STATE = 16, 7
"""Widths of the first two columns."""

WIDTH = 79


@click.command()
@click.argument("directory", required=False, type=PATH, metavar="[DIR]")
@click.option(
    "--require",
    "required",
    metavar="NAME,...",
    help="Fail with status 23 unless all of these are ok. Names are those of the first column.",
)
@click.option("--json", "as_json", is_flag=True, help="A list of objects: name, state, found, meaning.")
def command(directory: Path | None, required: str | None, as_json: bool) -> None:
    """Measure what this machine, and with DIR that directory, can do for copies.

    Each line says ok, limited, missing or unknown, what was measured, and what it means. In DIR this is
    tried out on files without names. The status is 0 whatever is found, unless --require names it, and 11
    where DIR cannot be used. Names are given without regard to case, with - for a space: seccomp-notify.
    """
    here = place.examine(str(directory)) if directory else []
    findings = [*here, *serving.examine(), *watching.examine()]
    names = _required(required, [finding.name for finding in findings])
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        for line in (line for finding in findings for line in _lines(finding)):
            say(line)
    _check([finding for finding in findings if _key(finding.name) in names])


def _key(name: str) -> str:
    """A finding's name as --require takes it."""
    return name.strip().lower().replace(" ", "-")


def _required(words: str | None, known: list[str]) -> set[str]:
    """The names that are required. Raises UsageError for one that no finding has."""
    if words is None:
        return set()
    names = {_key(word) for word in words.split(",")}
    keys = [_key(name) for name in known]
    if unknown := sorted(names.difference(keys)):
        raise UsageError(
            f"--require: nothing here is called {', '.join(map(repr, unknown))}",
            f"Choose from {','.join(keys)}; what a directory can do is measured only where DIR is given.",
        )
    return names


def _check(required: list[Finding]) -> None:
    """Raise RequirementError unless all of these work."""
    failed = [finding for finding in required if finding.state is not State.OK]
    if failed:
        raise RequirementError(
            "required, but not ok: " + ", ".join(f"{each.name} ({each.state})" for each in failed),
            "The lines above say what was measured and what it means.",
        )


def _lines(finding: Finding) -> list[str]:
    """A finding within WIDTH columns, on further lines where it needs them."""
    start = f"{finding.name:{NAME}} {finding.state!s:{STATE}} "
    text = printable(f"{finding.found}: {finding.meaning}")
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
