"""fusecopy demo: show on a scratch mount how copies travel."""

import os
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from fusecopy.cli import log
from fusecopy.cli.arguments import check_scratch_answers
from fusecopy.demo.place import Place, mounted, place
from fusecopy.demo.scenarios import DATA, DATA_BYTES, SCENARIOS
from fusecopy.demo.stage import Stage
from fusecopy.dispatch.records import Copy
from fusecopy.errors import FusecopyError


@click.command()
@click.option("--only", type=click.IntRange(1, len(SCENARIOS)), metavar="N", help="Only the Nth scenario.")
def command(only: int | None) -> None:
    """Show on a scratch mount how copies travel.

    Makes a btrfs image where it may, else takes a temporary directory; mounts it, copies in it, and shows
    for each claim about how Linux copies what the dispatch log says. Takes some seconds and leaves nothing
    behind. The status is 1 where something was not seen as it is claimed.
    """
    check_scratch_answers()
    with place() as where:
        (where.backing / DATA).write_bytes(os.urandom(DATA_BYTES))
        # Extents that are not yet on disk cannot be compared.
        os.sync()
        with mounted(where, "mnt") as point:
            stage = Stage(where, point, lambda copies: _show(copies, where.scratch / "shown.jsonl"))
            click.echo(_begun(where))
            _play(stage, only)
            _end(stage)
    if stage.failed:
        raise FusecopyError(f"not seen here: {'; '.join(stage.failed)}")


def _begun(where: Place) -> str:
    on = f"{where.filesystem}, {'with' if where.reflink else 'without'} reflink"
    if where.why_not:
        return f"The backing is a temporary directory on {on}, because {where.why_not}."
    return f"The backing is a btrfs image of its own on a loop device ({on})."


def _play(stage: Stage, only: int | None) -> None:
    for number, scenario in enumerate(SCENARIOS, 1):
        if only in (None, number):
            click.echo()
            stage.say(f"{number}. {scenario.claim}")
            scenario.play(stage)


def _end(stage: Stage) -> None:
    click.echo()
    stage.shell("fusecopy log -q .")
    click.echo()
    stage.shell("fusecopy log -c .")


def _show(copies: Sequence[Copy], file: Path) -> None:
    """Their rows, by the command itself."""
    file.write_bytes(msgspec.json.Encoder().encode_lines(copies))
    log.command.main(["-q", "--all", str(file)], standalone_mode=False)
