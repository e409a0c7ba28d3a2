"""fusecopy status: what a mount has done so far, and what the kernel does not ask it any more."""

import json
from collections.abc import Iterator
from typing import Any

import click

from fusecopy import asking
from fusecopy.cli.arguments import NAME, no_answer, served
from fusecopy.observe import opcodes
from fusecopy.terminal import say
from fusecopy.views.format import size

TOLD = ("backing", "pid", "log", "policy", "coherence", "passthrough", "transport")


@click.command()
@click.argument("mountpoint", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def command(mountpoint: str, as_json: bool) -> None:
    """Show what MOUNTPOINT has done so far.

    The ledger names the operations that were answered with ENOSYS: the kernel does not ask this mount for
    them again, and only a new mount changes that.
    """
    try:
        *answers, sums = asking.attributes(served(mountpoint), *TOLD, "stats")
    except OSError as error:
        raise no_answer(mountpoint, error) from error
    told, stats = dict(zip(TOLD, answers, strict=True)), json.loads(sums)
    if as_json:
        click.echo(json.dumps({**told, **stats}))
        return
    for name, value in told.items():
        say(f"{name:<11} {value}")
    for line in _lines(stats):
        say(line)


def _lines(stats: dict[str, Any]) -> Iterator[str]:
    copies = [
        f"{count} {dispatch} ({size(stats['bytes'].get(dispatch, 0))})"
        for dispatch, count in stats["copies"].items()
    ]
    yield f"{'copies':<11} {', '.join(copies) or 'none'}"
    yield f"{'known':<11} {stats['inodes']} inodes, {stats['open_files']} open files"
    yield f"{'lost':<11} {stats['lost']} records"
    requests = {opcodes.name(int(opcode)): count for opcode, count in stats["requests"].items()}
    ranked = sorted(requests.items(), key=lambda item: -item[1])
    yield f"{'requests':<11} {', '.join(f'{name} {count}' for name, count in ranked)}"
    for lane, index in (("native", 0), ("python", 1)):
        answered = {name: counts[index] for name, counts in stats["lanes"].items() if counts[index]}
        ranked = sorted(answered.items(), key=lambda item: -item[1])
        yield f"{f'by {lane}':<11} {', '.join(f'{name} {count}' for name, count in ranked) or 'none'}"
    yield f"{'ledger':<11} {'' if stats['ledger'] else 'empty'}".rstrip()
    for decision in stats["ledger"]:
        cause = f", since record {decision['seq']} of the log" if decision["seq"] else ""
        yield f"  {decision['operation']} answered ENOSYS, for good: {decision['meaning']}{cause}"
