"""What a scenario uses: say something, run something, and see what the dispatch log says of it."""

import os
import subprocess
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from fusecopy.demo.place import COMMAND_SECONDS, Place, environment, mounted
from fusecopy.dispatch.reader import follow
from fusecopy.dispatch.records import Copy
from fusecopy.errors import FusecopyError
from fusecopy.names import LOG

WIDTH = 79

RECORD_SECONDS = 20.0
"""A copy is in the log once its destination is released, which the kernel does soon after close(2)."""


@dataclass
class Stage:
    """A mount, and what was shown on it.

    Attributes:
        place: the backing.
        mount: the mount point; commands run in it.
        show: prints copies as `fusecopy log` does.
        failed: claims that were not seen.
        shown: number of the newest record that was shown.
    """

    place: Place
    mount: Path
    show: Callable[[Sequence[Copy]], None]
    failed: list[str] = field(default_factory=list)
    shown: int = 0

    def say(self, text: str) -> None:
        """Print a paragraph."""
        click.echo(textwrap.fill(text, WIDTH))

    def shell(self, command: str) -> str:
        """Run a command line in the mount, show it with what it says, and return that."""
        click.secho(f"$ {command}", bold=True)
        return self._run(["sh", "-c", command])

    def python(self, *lines: str) -> str:
        """Run lines of Python in the mount, in a process of their own; of a traceback the last line shows."""
        for line in lines:
            click.secho(f">>> {line}", bold=True)
        return self._run(["python3", "-c", "\n".join(["import os, sys", *lines])])

    def _run(self, command: list[str]) -> str:
        try:
            done = subprocess.run(
                command,
                cwd=self.mount,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=COMMAND_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise FusecopyError(f"{' '.join(command)} did not end within {COMMAND_SECONDS} s") from error
        said = done.stdout.strip()
        if said.startswith("Traceback"):
            said = said.splitlines()[-1]
        status = f"(status {done.returncode})" if done.returncode and command[0] == "sh" else ""
        text = "\n".join(part for part in (said, status) if part)
        if text:
            click.echo(textwrap.indent(text, "  "))
        return said

    def policy(self, words: str) -> None:
        """Change the mount's policy."""
        self.shell(f"fusecopy policy . {words}")

    def copies(self, *names: str) -> list[Copy]:
        """Show the copies into these files since the last time, as soon as the log has them all.

        Raises:
            FusecopyError: it did not get them in time.
        """
        found = self._await(names)
        copies = [found[name] for name in names]
        self.show(copies)
        for copy in copies:
            click.echo(f"  {copy.dst}: {requests(copy)}")
        self.shown = max(copy.seq for copy in copies)
        return copies

    def _await(self, names: tuple[str, ...]) -> dict[str, Copy]:
        log = Path(os.fsdecode(os.getxattr(self.mount, LOG)))
        stop, found = threading.Event(), dict[str, Copy]()
        timer = threading.Timer(RECORD_SECONDS, stop.set)
        timer.start()
        try:
            for record in follow(log, stop):
                if isinstance(record, Copy) and record.seq > self.shown:
                    found[record.dst] = record
                if found.keys() >= set(names):
                    return found
        finally:
            timer.cancel()
        missing = ", ".join(name for name in names if name not in found)
        raise FusecopyError(f"{log} has no copy into {missing} after {RECORD_SECONDS:.0f} s")

    def check(self, claim: str, holds: bool) -> None:
        """Say whether what is claimed is what was seen."""
        verdict = click.style("seen", fg="green") if holds else click.style("NOT SEEN", fg="red")
        click.echo(f"{verdict}: {claim}")
        if not holds:
            self.failed.append(claim)

    @contextmanager
    def another_mount(self, name: str) -> Iterator["Stage"]:
        """The same on a second mount of the backing, for what cannot be taken back."""
        with mounted(self.place, name) as point:
            yield Stage(self.place, point, self.show, self.failed)


def requests(copy: Copy) -> str:
    """The requests that served a copy, in one line."""
    asked = copy.requests
    words = [f"{asked.copies} copy request" + "s" * (asked.copies != 1)]
    if asked.reads:
        words.append(f"{asked.reads} READs")
    if asked.writes:
        words.append(f"{asked.writes} WRITEs (mean {asked.write_bytes // asked.writes} bytes)")
    again = "?" if copy.rewritten is None else str(copy.rewritten)
    return f"{', '.join(words)}; rewritten {again}; driver {copy.driver}"
