"""fusecopy verify: prove how much of a file shares extents with another."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from fusecopy.cli import backing_file, verify_trees
from fusecopy.cli.arguments import PATH
from fusecopy.copying.comparison import Compared
from fusecopy.copying.records import Proof, Sharing
from fusecopy.copying.sharing import Part, apart, no_fiemap, parts, summed
from fusecopy.errors import NotSharedError, UsageError
from fusecopy.terminal import say
from fusecopy.views.format import Column, header, percent, row

COLUMNS = [
    Column("OFFSET", 14, number=True),
    Column("LENGTH", 14, number=True),
    Column("STATE", 10),
    Column("FLAGS", 0),
]


class Range(NamedTuple):
    """Which bytes of B are to be those of A."""

    offset_a: int
    offset_b: int
    length: int


class Verdict(NamedTuple):
    """What was found of a range of B."""

    range: Range
    parts: list[Part]
    sharing: Sharing

    @property
    def stored(self) -> int:
        """Bytes that occupy storage: all but the holes."""
        return self.range.length - self.sharing.holes

    @property
    def not_shared(self) -> int:
        """Bytes that occupy storage and are known not to be shared."""
        return self.stored - self.sharing.shared - self.sharing.unprovable


def _range(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Range | None:
    if text is None:
        return None
    numbers = text.split(":")
    if len(numbers) != 3 or not all(number.isdecimal() for number in numbers) or not int(numbers[2]):
        raise UsageError(
            f"--range {text}: not OFF_A:OFF_B:LENGTH", "Give three numbers of bytes, as 0:4096:65536."
        )
    return Range(*map(int, numbers))


@click.command()
@click.argument("a", required=False, type=PATH)
@click.argument("b", required=False, type=PATH)
@click.option(
    "--range", "wanted", callback=_range, metavar="OFF_A:OFF_B:LENGTH", help="Only these bytes of B."
)
@click.option("-r", "--recursive", is_flag=True, help="A and B are directories: compare all files in them.")
@click.option(
    "--pairs",
    "list_",
    type=PATH,
    metavar="FILE",
    help="Compare the pairs of files named in FILE (- for standard input), each name ended by NUL.",
)
@click.option(
    "--compare",
    "saved",
    type=PATH,
    metavar="SAVED",
    help="List the files that share less than in SAVED, what an earlier run with --json printed.",
)
@click.option("--all", "everything", is_flag=True, help="List the files that are wholly shared too.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON: one object, or one for each file and one for the sums.",
)
def command(
    a: Path | None,
    b: Path | None,
    wanted: Range | None,
    recursive: bool,
    list_: Path | None,
    saved: Path | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Prove how much of the file B lies in the extents of the file A, byte for byte at the same offsets.

    Files in a mount of fusecopy are looked at through its backing. The status is 0 when every byte of B
    that occupies storage is shared, and 20 when some are not, or when nothing can be known: only btrfs, XFS
    and ext2 to ext4 are known to say where on a device files lie. What lies in one compressed extent is read
    and compared.

    With -r, or --pairs, many files are compared: those that are equal but not shared are `rewritten`, and
    their contents are read to know that. With --compare the status is 20 when a file shares less than before.
    """
    if (wanted and (recursive or list_)) or (recursive and list_):
        raise UsageError("-r, --pairs and --range exclude each other", "Give one of them.")
    found = _many(a, b, recursive, list_)
    if found is not None:
        verify_trees.show(found, as_json, everything, verify_trees.load(saved) if saved else None)
    elif saved or everything:
        raise UsageError("--compare and --all go with -r or --pairs", "Compare trees, or leave them out.")
    elif a and b:
        _verify_one(a, b, wanted, as_json)
    else:
        raise UsageError("verify needs A and B", "Name two files, or with -r two directories.")


def _many(a: Path | None, b: Path | None, recursive: bool, list_: Path | None) -> Iterator[Compared] | None:
    """The files of trees or of a list; None where a single pair is meant. Raises UsageError."""
    if list_ is not None:
        if a:
            raise UsageError("--pairs names all files itself", "Leave A and B out.")
        return verify_trees.pairs(list_)
    return verify_trees.trees(a, b) if recursive and a and b else None


def _verify_one(a: Path, b: Path, wanted: Range | None, as_json: bool) -> None:
    with _json_of_unprovable(a, b, as_json):
        with backing_file.opened(a) as source, backing_file.opened(b) as destination:
            verdict = _verify(source, destination, _checked(source, destination, wanted, f"{a} and {b}"))
            unshareable = apart(source, destination)
        _show(a, b, verdict, as_json)
    _judge(a, b, verdict, unshareable)


@contextmanager
def _json_of_unprovable(a: Path, b: Path, as_json: bool) -> Iterator[None]:
    """Where a file could not be looked at, programs are told so as JSON too."""
    try:
        yield
    except NotSharedError as error:
        if as_json:
            click.echo(json.dumps({"a": str(a), "b": str(b), "proof": "unprovable", "reason": error.message}))
        raise


def _checked(source: int, destination: int, wanted: Range | None, names: str) -> Range:
    """The range that is meant.

    Raises:
        UsageError: B has no such bytes, or they would be compared with themselves.
    """
    size = os.fstat(destination).st_size
    meant = wanted or Range(0, 0, size)
    if os.path.sameopenfile(source, destination) and meant.offset_a == meant.offset_b:
        raise UsageError(f"{names} are one file", "Name two files, or two ranges of one by --range.")
    if meant.offset_b + meant.length > size:
        raise UsageError(
            f"the range ends at {meant.offset_b + meant.length}, past the end of B at {size}",
            "End it at the end of B.",
        )
    return meant


def _verify(source: int, destination: int, range_: Range) -> Verdict:
    try:
        found = parts(source, range_.offset_a, destination, range_.offset_b, range_.length)
    except OSError as error:
        nothing = Sharing(0, 0, range_.length, Proof.UNPROVABLE, no_fiemap(error))
        return Verdict(range_, [], nothing)
    return Verdict(range_, found, summed(found))


def _show(a: Path, b: Path, verdict: Verdict, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_object(a, b, verdict)))
        return
    say(header(COLUMNS).rstrip())
    for part in verdict.parts:
        at = str(verdict.range.offset_b + part.offset)
        say(row(COLUMNS, [at, str(part.length), str(part.state), ",".join(part.traits)]).rstrip())
    sharing, stored = verdict.sharing, verdict.stored
    say(
        f"{b}: {sharing.shared} of {stored} bytes shared ({percent(sharing.shared, stored)}), "
        f"{verdict.not_shared} not shared, {sharing.unprovable} unprovable, {sharing.holes} in holes"
    )


def _as_object(a: Path, b: Path, verdict: Verdict) -> dict[str, object]:
    sharing = verdict.sharing
    return {
        "a": str(a),
        "b": str(b),
        "offset_a": verdict.range.offset_a,
        "offset_b": verdict.range.offset_b,
        "length": verdict.range.length,
        "shared": sharing.shared,
        "not_shared": verdict.not_shared,
        "unprovable": sharing.unprovable,
        "holes": sharing.holes,
        "proof": str(sharing.proof),
        "reason": sharing.reason,
        "extents": [
            {
                "offset": verdict.range.offset_b + part.offset,
                "length": part.length,
                "state": str(part.state),
                "flags": part.traits,
            }
            for part in verdict.parts
        ],
    }


def _judge(a: Path, b: Path, verdict: Verdict, unshareable: bool) -> None:
    """Raise NotSharedError unless everything that occupies storage is shared."""
    sharing = verdict.sharing
    if unshareable and verdict.not_shared + sharing.unprovable:
        raise NotSharedError(
            f"{a} and {b} lie on two filesystems, which share nothing", "Copy within one filesystem."
        )
    if verdict.not_shared:
        raise NotSharedError(
            f"{b}: {verdict.not_shared} of {verdict.stored} bytes are not shared with {a}",
            "Where the contents are equal, fusecopy cp --how dedupe A B shares them.",
        )
    if sharing.unprovable:
        raise NotSharedError(
            f"{b}: {sharing.unprovable} of {verdict.stored} bytes are unprovable: {sharing.reason}",
            "Whether they are shared cannot be known.",
        )
