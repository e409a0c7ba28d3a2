"""fusecopy faults: what went wrong with copies in the field, and can be had again."""

import json

import click

from fusecopy.faults.catalogue import FAULTS, Fault
from fusecopy.terminal import say


@click.command("faults")
@click.option("--names", is_flag=True, help="Their names only, one on a line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
def command(names: bool, as_json: bool) -> None:
    """List the faults: what each answers, what happened, and where that is written.

    Have any program's copies meet one by fusecopy run --fault NAME -- COMMAND, or all copies in a mount by
    fusecopy policy MNT fault=NAME.
    """
    for fault in FAULTS.values():
        if names:
            say(fault.name)
        elif as_json:
            say(json.dumps(_record(fault)))
        else:
            say(f"{fault.name}: {fault.call}: {fault.answer}")
            say(f"  {fault.happened}")
            say(f"  {fault.source}")


def _record(fault: Fault) -> dict[str, object]:
    return {
        "name": fault.name,
        "call": fault.call,
        "answer": fault.answer,
        "happened": fault.happened,
        "source": fault.source,
    }
