"""A program that a survey runs, and short ways to write several down.

Each command line runs in an empty directory of the mount. It finds there `../source`, a file of a mebibyte
and something, and `../tree`, a directory with three files in another below. $MADE is a second directory in
the mount, with what `prepare` made (from there, the file is `../../source`). $OUTSIDE is a directory on
another filesystem, and the home.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Program:
    """A program, and how it is made to copy.

    Attributes:
        name: as a person would call it, with what is special about this use.
        version: a command line that prints its version, among other things.
        line: the command line that copies.
        needs: the commands that must be installed.
        prepare: a command line that is run before, unwatched, in $MADE.
    """

    name: str
    version: str
    line: str
    needs: tuple[str, ...]
    prepare: str = ""


def uses(needs: str, version: str, lines: dict[str, str], prepare: str = "") -> tuple[Program, ...]:
    """Several uses of one program, by name, all of which are prepared alike."""
    return tuple(Program(name, version, line, tuple(needs.split()), prepare) for name, line in lines.items())


def built(name: str, needs: str, version: str, file: str, text: str, build: str, line: str) -> Program:
    """A program of a few lines that shows what a language's library does.

    Args:
        file: its source, in $MADE; `build` is run there.
    """
    prepare = f"cat >{file} <<'END'\n{text.strip()}\nEND\n{build}"
    return Program(name, version, line, tuple(needs.split()), prepare)
