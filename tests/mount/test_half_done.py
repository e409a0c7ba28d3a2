"""What failed half-way: the kernel believes nothing of it that it knew before."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounted import FUSECOPY, mounted

HALF_DONE = Path(__file__).parents[1] / "faulty" / "half_done.py"

SIZE = 1 << 18
HALF = SIZE // 2

pytestmark = [pytest.mark.fuse, pytest.mark.root, pytest.mark.loop]

PROGRAM = """
import ctypes, fcntl, os, sys
right, act = sys.argv[1:]
a, b = os.open("a", os.O_RDONLY), os.open("b", os.O_RDWR)
before = os.pread(b, 1 << 20, 0)
def fallocate(mode, offset, length):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(b, mode, ctypes.c_long(offset), ctypes.c_long(length)):
        raise OSError(ctypes.get_errno(), "fallocate")
try:
    exec(act)
except OSError as error:
    assert error.errno == 5, error
else:
    sys.exit("it succeeded")
now, right = os.pread(b, 1 << 20, 0), open(right, "rb").read()
assert right != before
assert now == right, "the kernel has what was there before"
assert os.fstat(b).st_size == len(right)
"""
"""Does something with two files whose bytes the kernel knows, which fails with EIO."""

ACTS = {
    "allocate": f"fallocate(0, {SIZE}, 4096)",
    "punch": f"fallocate(3, {HALF}, {HALF})",
    "zero": f"fallocate(16, 0, {HALF})",
    "copy": f"os.copy_file_range(a, b, {HALF}, 0, 0)",
    "copy behind the end": f"os.copy_file_range(a, b, {HALF}, 0, {SIZE})",
    "clone": "fcntl.ioctl(b, 0x40049409, a)",
}


def test_nothing_is_believed(btrfs: Path) -> None:
    backing = btrfs / "half"
    for act in ACTS:
        for name in ("a", "b"):
            (backing / act).mkdir(parents=True, exist_ok=True)
            (backing / act / name).write_bytes(name.encode() * SIZE)
    os.sync()
    with mounted(backing, "--no-native-lane", prefix=(sys.executable, str(HALF_DONE))) as mount:
        for act, code in ACTS.items():
            program = [sys.executable, "-c", PROGRAM, str(backing / act / "b"), code]
            by = [FUSECOPY, "run"] if act == "clone" else []
            there = mount.path / act
            done = subprocess.run([*by, *program], capture_output=True, text=True, timeout=60, cwd=there)
            assert done.returncode == 0, f"{act}: {done.stderr}"
    shutil.rmtree(backing)
