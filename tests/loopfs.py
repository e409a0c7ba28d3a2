"""Filesystems of our own on loop devices: sparse images, mounted for one test run or one test."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20

MKFS = {
    "btrfs": ("mkfs.btrfs", "-q", "-m", "single"),
    "xfs": ("mkfs.xfs", "-q"),
    "ext4": ("mkfs.ext4", "-q", "-F", "-b", "4096"),
}

SIZES = {"btrfs": 1024 * MIB, "xfs": 320 * MIB, "ext4": 256 * MIB}
"""mkfs.xfs makes nothing below 300 MiB. The images are sparse and take a few MiB."""


def run(*command: str | Path) -> str:
    """Run a command to its end and return its output; its error output is shown where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command} exited with {done.returncode}: {done.stderr}"
    return done.stdout


@contextmanager
def mounted(
    kind: str, directory: Path, size: int = 0, mkfs: tuple[str, ...] = (), options: str = ""
) -> Iterator[Path]:
    """A fresh filesystem mounted below `directory`, gone when the block ends.

    Args:
        kind: btrfs, xfs or ext4.
        size: of the image in bytes; what suits the kind when 0.
        mkfs: further options of mkfs.
        options: mount options.
    """
    image = directory / f"{kind}.img"
    image.touch(exist_ok=False)
    with image.open("r+b") as file:
        file.truncate(size or SIZES[kind])
    run(*MKFS[kind], *mkfs, image)
    # With "loop" the device is detached by the kernel when the mount goes.
    with mount(directory / kind, str(image), "-o", f"loop,{options}" if options else "loop") as point:
        yield point
    image.unlink()


@contextmanager
def mount(point: Path, *what: str) -> Iterator[Path]:
    """mount(8) with the given arguments on a new directory `point`; unmounted when the block ends."""
    point.mkdir()
    run("mount", *what, point)
    try:
        yield point
    finally:
        run("umount", point)
        point.rmdir()


@contextmanager
def stacked(point: Path, below: Path) -> Iterator[Path]:
    """An overlayfs of new directories in `below`, mounted on a new directory `point`."""
    layers = [below / name for name in ("lower", "upper", "work")]
    for layer in layers:
        layer.mkdir()
    options = ",".join(f"{layer.name}dir={layer}" for layer in layers)
    with mount(point, "-t", "overlay", "-o", options, "none") as top:
        yield top
