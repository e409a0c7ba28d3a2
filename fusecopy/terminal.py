"""Text for people. A terminal obeys what is in it, and names of files and programs may hold anything.

Everything that a command, a server or an error says goes through here, line by line: a line break in a name
makes no line of its own. JSON, which programs read, does not.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from typing import IO

TYPE_CHECKING = False  # as in fusecopy.clone.start, which may have to say something
if TYPE_CHECKING:
    from fusecopy.errors import FusecopyError


HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
"""What a terminal takes for: go to the top, wipe the rest of the line, wipe all below (ECMA-48)."""


def printable(text: str) -> str:
    """Text without what a terminal would obey: such characters are shown as escapes."""
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def say(line: str = "", file: IO[str] | None = None) -> None:
    """Print one line, to standard output if no file is given; at once, because a reader of a pipe may be
    waiting for it: for a mount to be ready, for the next copy."""
    print(printable(line), file=sys.stdout if file is None else file, flush=True)


def redraw(lines: list[str]) -> None:
    """Show lines in place of all that is on the terminal, as far as there is room."""
    width, height = shutil.get_terminal_size()
    if len(lines) >= height:
        lines = [*lines[: height - 2], f"... and {len(lines) - height + 2} lines more"]
    text = "".join(f"{printable(line)[:width]}{END_OF_LINE}\n" for line in lines)
    print(f"{HOME}{text}{END_OF_SCREEN}", end="", flush=True)


def said_of(error: "FusecopyError") -> Iterator[str]:
    """An error's lines: what happened, and what to do."""
    yield f"fusecopy: {error.message}"
    if error.remedy:
        yield f"  {error.remedy}"


def complain(error: "FusecopyError") -> None:
    """Show an error on standard error."""
    for line in said_of(error):
        say(line, sys.stderr)


def escape_what_cannot_be_encoded() -> None:
    """Names hold characters that the encoding of the terminal may not have."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def complain_of_command(name: "str | bytes", code: int) -> None:
    """Say why a command could not be run, as a shell does."""
    say(f"fusecopy: {os.fsdecode(name)}: {os.strerror(code)}", sys.stderr)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
