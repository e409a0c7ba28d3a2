"""Where a suite runs: a fresh filesystem on an image, and mounts of fusecopy over it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benching.commands import BenchError, run
from benching.place import filesystem, scratch
from fusecopy.demo.place import environment

IMAGE_BYTES = 3 << 30
"""Sparse, and in memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """One filesystem, with a mount over it.

    Attributes:
        kind: btrfs, xfs or ext4.
        root: where the filesystem is mounted.
        backing: the directory in it that is served.
        mount: where it is served.
    """

    kind: str
    root: Path
    backing: Path
    mount: Path


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """A filesystem, and a mount over it for every user."""
    with scratch() as where, filesystem(kind, IMAGE_BYTES, where) as root:
        found = Place(kind, root, root / "backing", where / "mount")
        found.backing.mkdir(mode=0o755)
        found.mount.mkdir()
        os.environ.update(environment())
        run("fusecopy", "mount", "--log", where / "log", "-o", "allow_other", found.backing, found.mount)
        try:
            yield found
        finally:
            unmount(found.mount)
            found.mount.rmdir()
            for file in where.glob("log*"):
                file.unlink()


def unmount(point: Path) -> None:
    """End a mount, by force where it would not go; none is no fault."""
    if not point.is_mount():
        return
    try:
        run("fusecopy", "umount", point)
    except BenchError:
        with suppress(BenchError):
            run("fusecopy", "umount", "--abort", point)
        raise
