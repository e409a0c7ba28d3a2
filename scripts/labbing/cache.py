"""What is kept between runs: /var/cache/fusecopy-lab, or where FUSECOPY_LAB_CACHE says.

    apt/       apt's configuration, lists and packages, apart from the host's
    kernels/   one directory for each kernel: kernel, initrd, modules.img
    guest/     the guests' Debian (root/), and its image

To remove it costs nothing but the time to make it again, some ten minutes.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def directory() -> Path:
    """The cache directory, made if need be."""
    path = Path(os.environ.get("FUSECOPY_LAB_CACHE", "/var/cache/fusecopy-lab"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Nobody else changes the cache meanwhile; guests that run only read it. Waits for another run to have
    prepared its guests, which all its commands' bounds bound."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A new directory to fill, called `path` once the block has ended well: never half of one."""
    new = path.with_name(path.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    shutil.rmtree(path, ignore_errors=True)
    new.rename(path)
