"""mount.fusecopy: what mount(8) runs for `mount -t fusecopy BACKING MOUNTPOINT` and for lines of fstab.

mount(8) calls `mount.fusecopy spec dir [-sfnv] [-N namespace] [-o options] [-t type.subtype]`, where -f means
fake and -n means no mtab: other letters than fusecopy's own, hence a parser of its own.
"""

import getopt
import os
import sys
from collections.abc import Sequence

from fusecopy.cli import fail, inherited
from fusecopy.cli.mount import start
from fusecopy.cli.options import parse
from fusecopy.errors import FusecopyError, UsageError

USAGE = "mount.fusecopy BACKING MOUNTPOINT [-o OPT,...]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `mount.fusecopy`; exits with fusecopy's statuses."""
    inherited.fill_streams()
    inherited.take_children()
    try:
        _mount(list(sys.argv[1:] if arguments is None else arguments))
    except FusecopyError as error:
        fail(error)


def _mount(arguments: list[str]) -> None:
    try:
        options, operands = getopt.gnu_getopt(arguments, "sfnvN:o:t:")
    except getopt.GetoptError as error:
        raise UsageError(f"mount.fusecopy: {error}", f"usage: {USAGE}") from error
    if len(operands) != 2:
        raise UsageError("mount.fusecopy needs a backing directory and a mount point")
    letters = [letter for letter, _ in options]
    if "-N" in letters:
        raise UsageError("mount.fusecopy cannot mount into another namespace (-N)", "use nsenter(1)")
    words = parse(value for letter, value in options if letter == "-o")
    if "remount" not in words.own:
        words.forwarded |= _defaults_of_mount(words.forwarded)
    if "-f" not in letters:
        start(operands[0], operands[1], words, {}, foreground=False)


def _defaults_of_mount(given: set[str]) -> set[str]:
    """`dev` and `suid` unless the contrary is given: they are mount(8)'s defaults, so it does not pass them
    on, and libfuse's are the others. For root alone: fusermount3 has others' mounts without."""
    if os.geteuid() != 0:
        return set()
    return {word for word in ("dev", "suid") if f"no{word}" not in given}
