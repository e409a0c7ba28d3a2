"""fusecopy expect: run a command and judge its copies, in a mount of fusecopy or not."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import click

from fusecopy.cli import backing_file
from fusecopy.cli.arguments import PATH
from fusecopy.cli.trace import Traced, own_failures, written_to
from fusecopy.clone.noting import CannotRun
from fusecopy.errors import ExpectationError, FusecopyError, UsageError
from fusecopy.expecting import report
from fusecopy.expecting.expectation import Expectation, parse
from fusecopy.expecting.judging import outside
from fusecopy.expecting.records import Copy
from fusecopy.expecting.watching import Watched, watch
from fusecopy.observe.command import NOT_EXECUTABLE, NOT_FOUND
from fusecopy.terminal import complain, complain_of_command, say
from fusecopy.views.format import Column, header, percent, row, size

COLUMNS = [
    Column("PROGRAM", 12),
    Column("MADE BY", 16),
    Column("STATE", 10),
    Column("SIZE", 5, number=True),
    Column("SHARED", 6, number=True),
    Column("FILE", 0),
]


@click.command("expect", cls=Traced)
@click.argument("word", required=False, metavar="[reflink|offload|no-fallback|shared=N%]")
@click.option(
    "--in", "directories", type=PATH, multiple=True, metavar="DIR", help="Judge what is copied to DIR only."
)
@click.option(
    "--trace/--no-trace",
    default=True,
    help="As root, with tracefs: see what calls return, so that it is known which made a copy.",
)
@click.option("--allow-unprovable", is_flag=True, help="Do not fail on what cannot be proven.")
@click.option("-a", "--all", "everything", is_flag=True, help="Name copies that are as expected, too.")
@click.option("-o", "output", type=PATH, metavar="FILE", help="Write there, not to standard error.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for each copy, and one for the verdict."
)
@click.option("--junit", type=PATH, metavar="FILE", help="Also write the verdict as JUnit's XML.")
@click.pass_obj
def command(
    arguments: list[str],
    word: str | None,
    directories: tuple[Path, ...],
    trace: bool,
    allow_unprovable: bool,
    everything: bool,
    output: Path | None,
    as_json: bool,
    junit: Path | None,
) -> int:
    """Run COMMAND and judge each copy that it makes, it and all that it starts: what it called, and what came
    of it by the extents of both files.

    \b
    reflink      every copy is shared
    offload      every copy was made by FICLONE or copy_file_range
    no-fallback  what was asked of these is shared; other copies may be
    shared=N%    so much of the bytes is

    Needs no root and no mount. COMMAND's calls go on as ever; those that copy, open, rename and unmount wait
    until they are noted (seccomp user notification). As root, where tracefs is mounted, it is seen what they
    return, too; each system call of the machine then takes some 40 ns more. Copies by read and write are
    found by comparing what was opened. What COMMAND leaves in the background is not judged.

    The exit status is COMMAND's own where that is not 0, 128 and the number for a signal; else 24 if the
    expectation does not hold, which --json tells in both cases. 125 if we failed, 126 or 127 if COMMAND
    cannot be run or found.
    """
    expectation = parse(word, allow_unprovable) if word is not None else None
    if junit and expectation is None:
        raise UsageError(
            "--junit tells whether an expectation holds, and there is none", "Expect reflink, say."
        )
    with own_failures(), ExitStack() as stack:
        out = stack.enter_context(written_to(output))
        suite = stack.enter_context(written_to(junit)) if junit else None
        try:
            watched = _in(directories, watch(arguments, _Stored().opened, trace))
        except CannotRun as error:
            return _cannot_run(arguments[0], error)
        unmet = expectation.unmet(watched.copies, watched.unseen) if expectation else ""
        if as_json:
            out.writelines(f"{line}\n" for line in report.json_lines(watched, expectation, unmet))
        else:
            _show(watched, expectation, everything, out)
        if suite and expectation:
            suite.write(report.junit(watched, expectation, unmet))
    if unmet:
        disappointed = ExpectationError(f"expected {expectation}: {unmet}")
        if not watched.status:
            raise disappointed
        complain(disappointed)
    return watched.status


def _in(directories: Sequence[Path], watched: Watched) -> Watched:
    """What was copied to these directories."""
    named = [Path(os.path.realpath(directory)) for directory in directories]
    return replace(watched, copies=[copy for copy in watched.copies if not outside(copy, named)])


def _cannot_run(name: str, error: CannotRun) -> int:
    """Say why nothing was run, and return the status."""
    if error.of_command:
        complain_of_command(name, error.code)
        return NOT_FOUND if error.code == errno.ENOENT else NOT_EXECUTABLE
    if error.code == errno.EBUSY:
        raise FusecopyError(
            "the command's calls are told to another supervisor already, and there can be but one",
            "Do not run fusecopy expect under fusecopy run, shell or expect, nor where a container has one.",
        )
    raise FusecopyError(
        f"the command's calls cannot be noted: seccomp user notification: {error}",
        "It takes Linux 5.9 and a container that allows seccomp(2).",
    )


class _Stored:
    """Opens files held by O_PATH as their filesystem has them: those of a fusecopy mount behind it."""

    def __init__(self) -> None:
        self._fuse: dict[int, bool] = {}

    @contextmanager
    def opened(self, fd: int) -> Iterator[int]:
        """A descriptor for reading. Raises OSError and FusecopyError."""
        if self._on_fuse(fd):
            with backing_file.opened(Path(os.readlink(f"/proc/self/fd/{fd}"))) as stored:
                yield stored
            return
        opened = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            yield opened
        finally:
            os.close(opened)

    def _on_fuse(self, fd: int) -> bool:
        """The mount table is long, and asked once for each filesystem."""
        device = os.fstat(fd).st_dev
        if device not in self._fuse:
            path = Path(os.readlink(f"/proc/self/fd/{fd}"))
            self._fuse[device] = backing_file.holding(path, device) is not None
        return self._fuse[device]


def _show(watched: Watched, expectation: Expectation | None, everything: bool, out: IO[str]) -> None:
    """Copies that are not as expected, or all; then the sums."""
    shown = [copy for copy in watched.copies if everything or expectation is None or expectation.breaks(copy)]
    if shown:
        say(header(COLUMNS).rstrip(), out)
    for copy in shown:
        say(_line(copy), out)
    sums = report.sums(watched.copies)
    stored = sums["size"] - sums["holes"]
    count = len(watched.copies)
    say(
        f"{count} {'copy' if count == 1 else 'copies'}: {sums['shared']} of {stored} bytes shared"
        f" ({percent(sums['shared'], stored)}), {sums['rewritten']} rewritten,"
        f" {sums['unprovable']} unprovable",
        out,
    )
    if watched.lost:
        say(
            f"{watched.lost} names opened for writing were gone, or never there, when they were looked at",
            out,
        )
    if watched.unseen:
        say(f"{watched.unseen} calls of programs that may not be looked at are not among them", out)


def _line(copy: Copy) -> str:
    reason = f" ({copy.reason})" if copy.reason else ""
    cells = (copy.program, report.maker(copy), str(copy.state), size(copy.size), size(copy.shared))
    return row(COLUMNS, [*cells, f"{copy.source} -> {copy.destination}{reason}"])
