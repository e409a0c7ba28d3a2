"""The options by which records of the log are chosen: the same words for every view."""

import functools
from collections.abc import Callable
from typing import Any, get_args

import click

from fusecopy.cli.choosing import moment
from fusecopy.dispatch.records import Dispatch
from fusecopy.dispatch.selection import Selection
from fusecopy.errors import UsageError
from fusecopy.sizes import bytes_of

DISPATCHES = get_args(Dispatch)

OPTIONS = [
    click.option(
        "-p",
        "--pid",
        "pids",
        type=click.IntRange(min=1),
        multiple=True,
        help="Only of this process; may be repeated.",
    ),
    click.option("-n", "--comm", default="", help="Only of programs whose name contains this."),
    click.option("-P", "--path", "glob", default="", metavar="GLOB", help="Only where either file matches."),
    click.option(
        "-e", "--dispatch", "chosen", metavar="LIST", help="Only of these dispatches: " + ",".join(DISPATCHES)
    ),
    click.option("-x", "failures", is_flag=True, help="Only fallbacks and refusals."),
    click.option("--uid", "uids", type=click.IntRange(min=0), multiple=True, help="Only of this user id."),
    click.option(
        "--driver", "drivers", multiple=True, metavar="CALL", help="Only driven by this system call."
    ),
    click.option(
        "--size", "least", default="0", metavar="BYTES", help="Only of so much or more, as 64K or 1M."
    ),
    click.option(
        "--since", default="", metavar="WHEN", help="Only from then on: 90s, 10m, 2h, 1d ago; or a time."
    ),
]


def selecting(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options, and what they say as its argument `selection`."""

    @functools.wraps(command)
    def with_selection(
        pids: tuple[int, ...],
        comm: str,
        glob: str,
        chosen: str | None,
        failures: bool,
        uids: tuple[int, ...],
        drivers: tuple[str, ...],
        least: str,
        since: str,
        **others: Any,
    ) -> None:
        selection = Selection(
            frozenset(pids),
            comm,
            glob,
            _dispatches(chosen, failures),
            frozenset(uids),
            frozenset(drivers),
            bytes_of(least),
            moment(since) if since else None,
        )
        command(selection=selection, **others)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(OPTIONS), with_selection)


def _dispatches(chosen: str | None, failures: bool) -> frozenset[str]:
    """What -e and -x choose. Raises UsageError."""
    if chosen is None:
        return frozenset(["fallback", "refused"] if failures else [])
    if failures:
        raise UsageError("-x and -e exclude each other", "-x means -e fallback,refused.")
    names = frozenset(chosen.split(","))
    if unknown := names - frozenset(DISPATCHES):
        raise UsageError(
            f"unknown dispatch: {', '.join(sorted(unknown))}", f"Choose from {','.join(DISPATCHES)}."
        )
    return names
