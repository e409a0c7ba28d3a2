"""fusecopy survey: which programs copy by which path, run and watched here."""

import sys
from contextlib import AbstractContextManager
from pathlib import Path

import click
import msgspec

from fusecopy.cli.arguments import PATH, check_scratch_answers
from fusecopy.demo.place import Place, place, place_in
from fusecopy.errors import FusecopyError, UsageError
from fusecopy.survey.programs import PROGRAMS
from fusecopy.survey.records import Row
from fusecopy.survey.surveying import survey
from fusecopy.terminal import say
from fusecopy.views.format import Column, header, row, size

COLUMNS = [Column("PROGRAM", 35), Column("VERSION", 10), Column("AGREE", 8), Column("CALLS -> LOG", 0)]


@click.command()
@click.argument("directory", required=False, type=PATH, metavar="[DIR]")
@click.option("--only", metavar="WORD", help="Only programs whose name has WORD in it.")
@click.option("--json", "as_json", is_flag=True, help="One object with everything, for programs.")
def command(directory: Path | None, only: str | None, as_json: bool) -> None:
    """Run programs that copy on a scratch mount, and tell which path each takes.

    Of each: its version; what it was seen to call (by strace, or where that is not installed by fusecopy
    expect); what the dispatch log said; and whether both agree. Programs that are not installed are said to
    be missing. The mount serves a new directory in DIR; without DIR a btrfs image of its own, for root, or a
    temporary directory. Takes some minutes. The status is 1 where a program's calls and the log differ.
    """
    programs = [program for program in PROGRAMS if only is None or only in program.name]
    if not programs:
        raise UsageError(f"--only {only}: no program's name has that in it", "fusecopy survey runs all.")
    if directory is None:
        check_scratch_answers()
    where: AbstractContextManager[Place] = place_in(directory) if directory else place()
    with where as here:
        found = survey(here, programs, lambda name: say(f"{name} ...", sys.stderr))
    if as_json:
        for line in msgspec.json.format(msgspec.json.encode(found), indent=1).decode().splitlines():
            say(line)
    else:
        say(f"Linux {found.kernel}, {found.filesystem}")
        say(header(COLUMNS).rstrip())
        for one in found.rows:
            say(_line(one))
    if differ := [one.program for one in found.rows if one.state == "disagree"]:
        raise FusecopyError(f"calls and log differ: {', '.join(differ)}")


def _line(one: Row) -> str:
    cells = (one.program, one.version or "-", one.state)
    if one.state == "missing":
        return row(COLUMNS, [*cells, one.why])
    calls = [f"{name} {size(count)}" for name, count in one.calls.moved.items()]
    refused = [f"{call} x{count}" for call, count in one.calls.refused.items()]
    logged = [
        f"{said.records} {said.dispatch} {said.driver} {size(said.bytes)} {said.path}" for said in one.logged
    ]
    text = f"{', '.join(calls + refused) or 'nothing'} -> {', '.join(logged) or 'nothing'}"
    return row(COLUMNS, [*cells, f"{text} ({one.why})" if one.why else text])
