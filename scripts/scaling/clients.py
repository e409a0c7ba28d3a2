"""What programs do in a mount while the server is measured. Each job prints what it found out, as JSON."""

import json
import os
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DIRECTORY_FILES = 1000
DROPS = 50
STILL_SECONDS = 0.2
PIECE = 64 << 10

Found = dict[str, float]


def plant(root: str, files: str) -> Found:
    """A tree of so many empty files, a thousand in each directory."""
    for number in range(int(files)):
        directory, name = divmod(number, DIRECTORY_FILES)
        if name == 0:
            where = os.path.join(root, f"directory{directory}")
            os.mkdir(where)
        os.close(os.open(f"{where}/file{name}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    return {"files": int(files)}


def walk(root: str) -> Found:
    """stat(2) everything below a directory, as find does."""
    modes = Counter(stat.S_IFMT(found.st_mode) for found in _below(root))
    return {"files": modes[stat.S_IFREG], "directories": modes[stat.S_IFDIR]}


def _below(directory: str) -> Iterator[os.stat_result]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path)


def drop(root: str) -> Found:
    """Have the kernel forget all names that nobody uses, and ask the server something all the while."""
    longest, left = 0.0, 1
    for _ in range(DROPS):
        with subprocess.Popen(["sh", "-c", "echo 2 > /proc/sys/vm/drop_caches"]) as dropping:
            changed = time.monotonic()
            while left and (dropping.poll() is None or time.monotonic() < changed + STILL_SECONDS):
                before, began = left, time.monotonic()
                left = _stats(root)["inodes"]
                ended = time.monotonic()
                longest = max(longest, ended - began)
                if left != before:
                    changed = ended
        if not left:
            break
    return {"left": left, "longest": longest}


def copy(source: str, destination: str) -> Found:
    """copy_file_range(2) to the end of the source."""
    calls = copied = 0
    with open(source, "rb") as file, open(destination, "xb") as to:
        size = os.fstat(file.fileno()).st_size
        began = time.monotonic()
        while count := os.copy_file_range(file.fileno(), to.fileno(), size - copied):
            calls += 1
            copied += count
            if copied == size:
                break
        return {"calls": calls, "copied": copied, "seconds": time.monotonic() - began}


def churn(root: str, until: str) -> Found:
    """Create, write, read, copy, stat, rename and unlink files until the server has had so many requests."""
    rounds = 0
    data = os.urandom(PIECE)
    while (requests := sum(_stats(root)["requests"].values())) < int(until):
        for _ in range(20):
            _round(Path(root), data, rounds)
            rounds += 1
    return {"requests": requests, "rounds": rounds}


def _round(root: Path, data: bytes, number: int) -> None:
    source, destination = root / f"source{number}", root / f"copy{number}"
    source.write_bytes(data)
    copy(str(source), str(destination))
    if destination.read_bytes() != data:
        raise SystemExit(f"{destination} differs from its source")
    destination.rename(root / "renamed")
    if (root / "renamed").stat().st_size != len(data) or (root / "missing").exists():
        raise SystemExit(f"{root} shows another directory than it should")
    source.unlink()
    (root / "renamed").unlink()


def _stats(root: str) -> Any:
    return json.loads(os.getxattr(root, "user.fusecopy.stats"))


JOBS: dict[str, Callable[..., Found]] = {job.__name__: job for job in (plant, walk, drop, copy, churn)}

if __name__ == "__main__":
    print(json.dumps(JOBS[sys.argv[1]](*sys.argv[2:])))
