"""Where it is measured: a tmpfs of our own with images in it, and on each the files that are copied."""

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benching.commands import BenchError, run
from benching.settings import FILES_A_DIRECTORY, MIB, Sizes
from benching.workloads import Contents
from fusecopy.interrupts import ended_by_signals, undisturbed

MKFS = {
    "btrfs": ("mkfs.btrfs", "-q", "-m", "single"),
    "xfs": ("mkfs.xfs", "-q"),
    "ext4": ("mkfs.ext4", "-q", "-F"),
}
SMALL_FILES = (1 << 10, 4 << 10, 9 << 10, 16 << 10)
"""Their sizes in turn; the last two are no inline extents of btrfs."""

NOT_LIBRARY = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages")


@contextmanager
def scratch() -> Iterator[Path]:
    """A tmpfs, gone with everything in it when the block ends, also by ^C and its like.

    Raises:
        BenchError: not root, or no tmpfs can be mounted.
    """
    if os.geteuid() != 0:
        raise BenchError("images are for root alone to mount", "run it as root")
    with ended_by_signals():
        place = Path(tempfile.mkdtemp(prefix="fusecopy-bench-"))
        try:
            with mounted(place, "-t", "tmpfs", "-o", "mode=0755,size=90%", "fusecopy-bench"):
                yield place
        finally:
            place.rmdir()


@contextmanager
def filesystem(kind: str, size: int, where: Path) -> Iterator[Path]:
    """A fresh btrfs, XFS or ext4 on an image of `size` bytes; its root."""
    image, root = where / f"{kind}.img", where / kind
    with image.open("wb") as file:
        file.truncate(size)
    run(*MKFS[kind], image)
    root.mkdir()
    # With "loop" the kernel detaches the device when the mount goes.
    with mounted(root, "-o", "loop", str(image)):
        yield root
    root.rmdir()
    image.unlink()


@contextmanager
def mounted(point: Path, *what: str) -> Iterator[None]:
    """mount(8) with these arguments on an existing directory; unmounted when the block ends."""
    with undisturbed():
        run("mount", *what, point)
    try:
        yield
    finally:
        with undisturbed():
            run("umount", point)


def lay_out(backing: Path, sizes: Sizes) -> Contents:
    """Make everything that the workloads copy and read."""
    _noise(backing / "big", sizes.big)
    _noise(backing / "middle", sizes.middle)
    names = [f"d{number:02}" for number in range(sizes.directories)]
    for name in names:
        _small_files(backing / "files" / name)
    source, library = Path(sysconfig.get_path("stdlib")), backing / "library"
    shutil.copytree(source / sizes.library, library, symlinks=True, ignore=NOT_LIBRARY)
    run("tar", "-cf", "library.tar", "library", cwd=backing)
    return Contents(names, len(names) * FILES_A_DIRECTORY, _count(library))


def _noise(path: Path, size: int) -> None:
    with path.open("wb") as file:
        for _ in range(0, size, MIB):
            file.write(os.urandom(MIB))


def _small_files(directory: Path) -> None:
    directory.mkdir(parents=True)
    for number in range(FILES_A_DIRECTORY):
        size = SMALL_FILES[number % len(SMALL_FILES)]
        (directory / f"{number:03}").write_bytes(os.urandom(size))


def _count(tree: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(tree))


def fresh_results(backing: Path) -> None:
    """An empty out/, and nothing of what was before still to be written."""
    out = backing / "out"
    if out.exists():
        shutil.rmtree(out)
    out.mkdir()
    flush(backing)


def flush(backing: Path) -> None:
    """Have the filesystem write what it owes."""
    run("sync", "--file-system", backing)


def drop_caches() -> None:
    """Have the kernel forget all that it can: pages, names and attributes, of the whole machine."""
    Path("/proc/sys/vm/drop_caches").write_text("3")
