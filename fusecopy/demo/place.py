"""Where the demonstration takes place: a scratch backing and a mount of it, gone when it ends."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusecopy import mounts
from fusecopy.copying.backing import measure
from fusecopy.errors import FusecopyError
from fusecopy.interrupts import ended_by_signals, undisturbed

IMAGE_BYTES = 512 << 20
"""Sparse; it takes a few MiB."""

COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Place:
    """A backing directory to make mounts of.

    Attributes:
        scratch: temporary directory for mount points and logs.
        backing: the directory that is served.
        filesystem: the kernel's name of its filesystem.
        reflink: clones work there, as measured.
        why_not: why there is no btrfs image, where there is none.
    """

    scratch: Path
    backing: Path
    filesystem: str
    reflink: bool
    why_not: str


@contextmanager
def place() -> Iterator[Place]:
    """A backing on a btrfs image of its own where that is possible, else in a plain temporary directory."""
    with tempfile.TemporaryDirectory(prefix="fusecopy-demo-") as name, ended_by_signals():
        scratch = Path(name)
        root = scratch / "backing"
        root.mkdir()
        try:
            with undisturbed():
                why_not = _mount_image(scratch / "btrfs.img", root)
            found = measure(root)
            yield Place(scratch, root, found.filesystem, bool(found.reflink), why_not)
        finally:
            if mounts.at(str(root)):
                with undisturbed():
                    run("umount", str(root))


@contextmanager
def place_in(directory: Path) -> Iterator[Place]:
    """A backing in a new directory below one."""
    with (
        tempfile.TemporaryDirectory(prefix="fusecopy-") as scratch,
        tempfile.TemporaryDirectory(prefix="fusecopy-", dir=directory) as backing,
        ended_by_signals(),
    ):
        found = measure(Path(backing))
        yield Place(Path(scratch), Path(backing), found.filesystem, bool(found.reflink), "")


def _mount_image(image: Path, where: Path) -> str:
    """Mount a fresh btrfs; or say why not. The kernel detaches the loop device when the mount goes."""
    if os.geteuid() != 0:
        return "only root may mount an image"
    if not shutil.which("mkfs.btrfs"):
        return "mkfs.btrfs is not installed (apt install btrfs-progs)"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    try:
        run("mkfs.btrfs", "-q", "-m", "single", str(image))
        run("mount", "-o", "loop", str(image), str(where))
    except FusecopyError as error:
        return error.message
    return ""


@contextmanager
def mounted(where: Place, name: str) -> Iterator[Path]:
    """A mount of the backing by the real command, its server in the background, at a point called `name`."""
    point = where.scratch / name
    point.mkdir()
    log = where.scratch / f"{name}.jsonl"
    try:
        with undisturbed():
            run("fusecopy", "mount", "--log", str(log), str(where.backing), str(point))
        yield point
    finally:
        with undisturbed():
            _unmount(point)


def _unmount(point: Path) -> None:
    if not mounts.at(str(point)):
        return
    try:
        run("fusecopy", "umount", str(point))
    except FusecopyError:
        run("fusecopy", "umount", "--abort" if os.geteuid() == 0 else "--lazy", str(point))


def run(*command: str) -> None:
    """Run a command to its end, out of reach of the terminal's ^C. Raises FusecopyError with what it said."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            env=environment(),
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FusecopyError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise FusecopyError(f"{' '.join(command)}: {done.stderr.strip()}")


def environment() -> Mapping[str, str]:
    """Ours, with this installation's `fusecopy` and `python3` first, sbin too, and messages in English."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, "LC_ALL": "C"}
