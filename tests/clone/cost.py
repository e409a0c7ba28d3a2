"""A program: prints what `fusecopy run` costs, side by side: a clone, calls it lets through, its start.

Wants root, for the file system it makes; scripts/clone-cost runs it.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests import loopfs
from tests.clone.running import plain, program, said, served
from tests.loopfs import MIB
from tests.mounted import FUSECOPY, mounted
from tests.reflink.files import noise

ROUNDS = "200"

CALLS = """
import os, time
def once():
    begun = time.process_time_ns()
    for _ in range(20000): os.getppid()
    return time.process_time_ns() - begun
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


def start(directory: Path) -> None:
    """A command that ends at once, by itself and under run, and Python alone."""
    for command in (("true",), (FUSECOPY, "run", "true"), (sys.executable, "-c", "pass")):
        costs = [_once(command, directory) for _ in range(50)]
        cpu_ms, wall_ms = (min(cost[at] for cost in costs) * 1000 for at in (0, 1))
        print(
            f"{Path(command[0]).name} {' '.join(command[1:])}: {cpu_ms:.1f} ms of processor, {wall_ms:.1f} ms"
        )


def _once(command: Sequence[str], directory: Path) -> tuple[float, float]:
    cpu, begun = _processor(), time.perf_counter()
    subprocess.run(command, cwd=directory, check=True)
    return _processor() - cpu, time.perf_counter() - begun


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="fusecopy-cost-") as place:
        with loopfs.mounted("btrfs", Path(place)) as filesystem:
            clone(filesystem)
        other_calls(Path(place))
        start(Path(place))
