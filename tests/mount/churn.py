"""Random operations on files in the working directory: `churn.py SEED COUNT`. What fails, fails."""

import os
import random
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SIZES = (10, 4096, 70000)
BYTES = random.Random(0).randbytes(max(SIZES))


class Churn:
    """Files that are made, copied, read, renamed, linked, cut and removed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._made = 0
        self._files = [self._name()]
        self._files[0].touch()

    def run(self, count: int) -> None:
        """Do so many things."""
        acts: list[Callable[[], object]] = [
            lambda: self._new().write_bytes(BYTES[: self._random.choice(SIZES)]),
            lambda: self._copy(self._old(), self._new()),
            lambda: shutil.copyfile(self._old(), self._new()),
            lambda: self._old().read_bytes(),
            lambda: self._old().rename(self._new()),
            lambda: os.link(self._old(), self._new()),
            lambda: os.truncate(self._old(), self._random.randrange(100000)),
            lambda: self._old().unlink(),
            lambda: os.listdir("."),
        ]
        for _ in range(count):
            with suppress(OSError):
                self._random.choice(acts)()

    def _copy(self, source: Path, destination: Path) -> None:
        with source.open("rb") as a, destination.open("wb") as b:
            os.copy_file_range(a.fileno(), b.fileno(), 1 << 20, 0, 0)

    def _name(self) -> Path:
        self._made += 1
        return Path(f"d{self._random.randrange(8)}", str(self._made))

    def _new(self) -> Path:
        name = self._name()
        self._files.append(name)
        return name

    def _old(self) -> Path:
        return self._random.choice(self._files)


if __name__ == "__main__":
    for number in range(8):
        Path(f"d{number}").mkdir()
    Churn(int(sys.argv[1])).run(int(sys.argv[2]))
