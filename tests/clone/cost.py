"""A program: prints what `fusecopy run` costs, measured side by side: a clone, and calls it lets through.

Wants root, for the file system it makes; scripts/clone-cost runs it.
"""

import os
import sys
import tempfile
from pathlib import Path

from tests import loopfs
from tests.clone.running import plain, program, said, served
from tests.loopfs import MIB
from tests.mounted import mounted
from tests.reflink.files import noise

ROUNDS = "200"

CALLS = """
import os, time
def once():
    begun = time.perf_counter_ns()
    for _ in range(20000): os.getppid()
    return time.perf_counter_ns() - begun
print(min(once() for _ in range(20)) / 20000)
"""


def clone(filesystem: Path) -> None:
    """FICLONE of 1 MiB under run, against the native call and one copy_file_range in the mount."""
    native, behind = filesystem / "native", filesystem / "served"
    for directory in (native, behind):
        directory.mkdir()
        (directory / "a").write_bytes(noise(MIB))
    with mounted(behind) as mount:
        clone_us, copy_us = map(float, said(served(*program("timing.py", ROUNDS), cwd=mount.path)).split())
        native_us, _ = map(float, said(plain(*program("timing.py", ROUNDS), cwd=native)).split())
    print(f"FICLONE of 1 MiB: {clone_us:.0f} us; native {native_us:.0f}, copy_file_range {copy_us:.0f}")
    print(f"  ratio to 3 * native + copy_file_range: {clone_us / (3 * native_us + copy_us):.2f}")


def other_calls(directory: Path) -> None:
    """A call that the filter lets through, against the same without a filter."""
    bare = float(said(plain(sys.executable, "-c", CALLS, cwd=directory)))
    filtered = float(said(served(sys.executable, "-c", CALLS, cwd=directory)))
    print(f"getppid: {filtered:.0f} ns; without run {bare:.0f}; ratio {filtered / bare:.2f}")


if __name__ == "__main__":
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="fusecopy-cost-") as place:
        with loopfs.mounted("btrfs", Path(place)) as filesystem:
            clone(filesystem)
        other_calls(Path(place))
