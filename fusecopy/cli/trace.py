"""fusecopy trace: run a command and show every copy as program, kernel and server saw it."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from fusecopy.cli.arguments import PATH, check_command_answers
from fusecopy.errors import FusecopyError, UsageError
from fusecopy.observe import export, tracefs, words
from fusecopy.observe.command import OWN_FAILURE
from fusecopy.observe.recording import BUFFER_KIB, Recording, record, record_logs
from fusecopy.observe.stories import Step, Told, moved, tell
from fusecopy.terminal import complain, said_of, say
from fusecopy.views.format import Column, header, row, size

CALLS = [
    Column("PROGRAM", 15),
    Column("CALL", 19),
    Column("DISPATCH", 10),
    Column("CALLS", 6, number=True),
    Column("BYTES", 7, number=True),
]

REQUESTS = [
    Column("PROGRAM", 15),
    Column("REQUEST", 19),
    Column("COUNT", 10, number=True),
    Column("ERRORS", 6, number=True),
    Column("BYTES", 7, number=True),
]

OTHERS = "(others)"
"""Programs that the command did not start, and requests that the kernel sent in a server's context."""

LOGS_ONLY = "what follows is all that the dispatch logs say of this time, by any program"


class Traced(click.Command):
    """A command line of ours, "--", and the command to trace."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.obj, args = args[at + 1 :], args[:at]
        with own_failures():
            rest = super().parse_args(ctx, args)
            if not ctx.obj:
                raise click.UsageError("there is no command: write -- and the command", ctx)
            check_command_answers(ctx.obj[0])
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND..."]


@click.command("trace", cls=Traced)
@click.argument("points", nargs=-1, metavar="[MNT]...")
@click.option("-o", "output", type=PATH, help="Write there, not to standard error.")
@click.option("-c", "--summary", is_flag=True, help="Sums by program instead of copies.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each copy.")
@click.option("--chrome", type=PATH, metavar="FILE", help="Also a file for Perfetto.")
@click.option(
    "--buffer", type=click.IntRange(1), default=BUFFER_KIB, metavar="KIB", help="Trace buffer for each CPU."
)
@click.pass_obj
def command(
    arguments: list[str],
    points: tuple[str, ...],
    output: Path | None,
    summary: bool,
    as_json: bool,
    chrome: Path | None,
    buffer: int,
) -> int:
    """Run COMMAND and show each of its copies in the mounts MNT, or in every FUSE mount: what the program
    asked, what requests the kernel sent, and what the server did.

    The trace ends with COMMAND; what it leaves in the background is not followed. Needs root and
    tracefs; without them only what the dispatch logs say is shown. The exit status is COMMAND's, 128 and
    the number for a signal; 125 if tracing failed, 126 or 127 if COMMAND cannot be run or found.
    """
    with own_failures(), written_to(output) as out, _also(chrome) as picture:
        recording = _record(arguments, points, buffer, out)
        told = tell(recording)
        lines = _summary(recording, told) if summary else _stories(recording, told)
        if as_json:
            out.writelines(f"{line}\n" for line in export.json_lines(recording, told))
        else:
            for line in lines:
                say(line, out)
        if picture:
            picture.write(export.chrome(recording, told))
    return recording.status


@contextmanager
def own_failures() -> Iterator[None]:
    """End with a status that no command's own is taken for, when something of ours goes wrong."""
    try:
        yield
    except UsageError:
        raise
    except FusecopyError as error:
        complain(error)
        sys.exit(OWN_FAILURE)


@contextmanager
def written_to(path: Path | None) -> Iterator[IO[str]]:
    """A file for our words, opened before anything is run; standard error if none is named."""
    if path is None:
        yield sys.stderr
        return
    try:
        file = path.open("w", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "name a file that can be written") from error
    with file:
        yield file


@contextmanager
def _also(path: Path | None) -> Iterator[IO[str] | None]:
    if path is None:
        yield None
        return
    with written_to(path) as file:
        yield file


def _record(arguments: Sequence[str], points: Sequence[str], buffer_kib: int, out: IO[str]) -> Recording:
    try:
        tracefs.find()
    except tracefs.TracingError as error:
        for line in (*said_of(error), f"  {LOGS_ONLY}"):
            say(line, out)
        out.flush()
        return record_logs(arguments, points)
    return record(arguments, points, buffer_kib)


def _stories(recording: Recording, told: Told) -> Iterator[str]:
    for story in told.stories:
        yield from words.story_lines(story, recording)
    yield from words.left_lines(told)
    yield from words.unseen_lines(recording)
    if lost := words.loss(recording):
        yield f"fusecopy: {lost}"


def _summary(recording: Recording, told: Told) -> Iterator[str]:
    """Calls by program and dispatch; requests by program and opcode."""
    groups: dict[tuple[str, str, str], list[Step]] = {}
    for step in (step for story in told.stories for step in story.steps):
        nothing = step.call and step.call.result == 0
        key = (step.process.comm, step.driver or "-", "-" if nothing else step.dispatch)
        groups.setdefault(key, []).append(step)
    yield header(CALLS)
    for (comm, call, dispatch), steps in sorted(groups.items()):
        yield row(CALLS, [comm, call, dispatch, str(len(steps)), size(moved(steps))])
    yield ""
    yield from _request_sums(recording)
    yield from words.unseen_lines(recording)
    if lost := words.loss(recording):
        yield ""
        yield f"fusecopy: {lost}; these sums are minima"


def _request_sums(recording: Recording) -> Iterator[str]:
    counts, errors, carried = (
        Counter[tuple[str, str]](),
        Counter[tuple[str, str]](),
        Counter[tuple[str, str]](),
    )
    for request in recording.requests:
        ours = request.thread in recording.family
        comm = recording.family.process(request.thread, request.begun).comm if ours else OTHERS
        key = (comm, request.opcode)
        counts[key] += 1
        errors[key] += bool(request.errno)
        carried[key] += request.read + request.written
    yield header(REQUESTS)
    for (comm, opcode), count in sorted(counts.items()):
        key = (comm, opcode)
        yield row(REQUESTS, [comm, opcode, str(count), str(errors[key]), size(carried[key])])
