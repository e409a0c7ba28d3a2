"""Cloning a tree by ourselves, with the rights that we have, where there is no server to ask."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from fusecopy import descriptors, ioctls
from fusecopy.cli import progress
from fusecopy.copying import treeanswer
from fusecopy.copying.ladder import HOWS
from fusecopy.copying.placing import build_placed
from fusecopy.copying.records import Copied, Sharing
from fusecopy.copying.sharing import prove
from fusecopy.copying.tree import Tree, TreeError
from fusecopy.terminal import say

BY_DEFAULT = "reflink"
"""No policy speaks here, and whoever asks for a clone did not ask for a copy."""


def clone(source: int, target: Path, how: str, shown: bool) -> ioctls.Answer:
    """Clone the open file or directory to the new name.

    Args:
        how: one of ioctls.HOWS; the empty word is BY_DEFAULT.
        shown: tell on stderr how far it is.
    """
    descriptors.raise_limit()
    ladder = HOWS[how or BY_DEFAULT]
    copies: list[tuple[int, Sharing]] = []

    def copied(file: Copied) -> None:
        copies.append((file.outcome.copied, prove(file.request, file.outcome)))

    tree = Tree(ladder, copied)
    directory = os.open(target.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    umask = os.umask(0)  # the modes are those of the source
    try:
        with _stopped_by_signals(tree), progress.shown(lambda: _done(tree)) if shown else nullcontext():
            build_placed(tree, source, directory, os.fsencode(target.name), _left_behind(target.parent))
    except TreeError as error:
        return treeanswer.failed(error, ladder)
    except OSError as error:
        return treeanswer.failed(TreeError(b"", error.errno or errno.EIO), ladder)
    finally:
        os.umask(umask)
        os.close(directory)
    return treeanswer.done(tree, copies)


def _done(tree: Tree) -> tuple[int, int]:
    counts = tree.counts
    return counts.files + counts.directories + counts.links + counts.others, counts.bytes


@contextmanager
def _stopped_by_signals(tree: Tree) -> Iterator[None]:
    """^C and its like end the work, and do not disturb the removal of what was built."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: tree.stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _left_behind(parent: Path) -> Callable[[bytes, OSError], None]:
    def told(name: bytes, error: OSError) -> None:
        path = parent / os.fsdecode(name)
        say(f"fusecopy: {path}: this is left, and could not be removed: {error.strerror}", sys.stderr)

    return told
