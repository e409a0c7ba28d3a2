"""A program: makes random copies and at once closes, removes, renames, cuts or uses again what they were of.

Run as `storm.py VIEWS BACKING NAME SEED COUNT`. VIEWS are directories, separated by commas, that show the
mount; BACKING is what it serves. Prints an object a copy: what was asked for, what the calls returned, what
the backing said of it.
"""

import json
import os
import random
import sys

from fusecopy.copying.sharing import parts, summed

BLOCK = 4096
SIZES = (100, BLOCK, 70000, 32 * BLOCK, 33 * BLOCK + 5, 100 * BLOCK)
SOURCES = 4
LOOKED_AT = 0.15
"""Share of the copies whose extents are looked at before anything is changed."""


class Client:
    """One client. Its sources are its own, so that nobody else changes what it compares."""

    def __init__(self, views: list[str], backing: str, name: str, seed: int) -> None:
        self._views, self._backing, self._name = views, backing, name
        self._choose = random.Random(seed)
        self._sizes = [self._choose.choice(SIZES) for _ in range(SOURCES)]
        for number in range(SOURCES):
            self._make_source(number)

    def copy(self, number: int) -> dict[str, object]:
        """One copy and what follows."""
        choose = self._choose
        which = choose.randrange(SOURCES)
        src, dst = self._source(which), f"{self._name}-{number}"
        kind = choose.choice(("whole", "whole", "range", "over", "itself", "write", "send", "other"))
        if kind == "itself":
            src = dst
        told: dict[str, object] = {"kind": kind, "src": src, "dst": dst, "pid": os.getpid()}
        target = os.open(self._path(dst), os.O_RDWR | os.O_CREAT | os.O_EXCL)
        source = os.open(self._path(src), os.O_RDWR)
        told |= self._carry(kind, source, target, which)
        told["after"] = self._disturb(which, source, target, dst)
        return told

    def _carry(self, kind: str, source: int, target: int, which: int) -> dict[str, object]:
        if kind in ("write", "send", "other"):
            return self._move(kind, source, target)
        off_in, off_out, length = 0, 0, self._sizes[which]
        if kind == "itself":
            os.pwrite(target, self._choose.randbytes(8 * BLOCK), 0)
            off_out, length = 16 * BLOCK, 8 * BLOCK
        if kind == "over":
            os.pwrite(target, self._choose.randbytes(self._choose.choice(SIZES)), 0)
        if kind == "range":
            off_in = self._choose.choice((0, BLOCK, 100, 5 * BLOCK))
            off_out = self._choose.choice((0, BLOCK, 100, 3 * BLOCK))
            length = self._choose.choice((BLOCK, 5000, 20 * BLOCK, 1 << 20))
        return self._offload(source, off_in, target, off_out, length)

    def _offload(self, source: int, off_in: int, target: int, off_out: int, length: int) -> dict[str, object]:
        done = calls = 0
        while done < length:
            count = os.copy_file_range(source, target, length - done, off_in + done, off_out + done)
            if not count:
                break  # at the source's end the kernel asks no server
            done, calls = done + count, calls + 1
        told: dict[str, object] = {"copied": done, "off_in": off_in, "off_out": off_out, "calls": calls}
        if done and self._choose.random() < LOOKED_AT:
            told |= self._look(source, off_in, target, off_out, done)
        return told

    def _move(self, kind: str, source: int, target: int) -> dict[str, object]:
        if kind == "send":
            size = os.fstat(source).st_size
            return {"copied": os.sendfile(target, source, 0, size), "off_in": 0, "off_out": 0}
        data = os.pread(source, 1 << 20, 0)
        if kind == "other":
            data = self._choose.randbytes(len(data))
        return {"copied": os.pwrite(target, data, 0), "off_in": 0, "off_out": 0}

    def _look(self, source: int, off_in: int, target: int, off_out: int, length: int) -> dict[str, object]:
        """What both files are below, where no request shows it."""
        names = (os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) for fd in (source, target))
        one, other = (os.open(os.path.join(self._backing, name), os.O_RDONLY) for name in names)
        try:
            equal = os.pread(one, length, off_in) == os.pread(other, length, off_out)
            found = summed(parts(one, off_in, other, off_out, length))
        finally:
            os.close(one)
            os.close(other)
        return {"equal": equal, "shared": found.shared, "holes": found.holes, "unprovable": found.unprovable}

    def _disturb(self, which: int, source: int, target: int, dst: str) -> str:
        """Closes both and leaves the source as it was."""
        after = self._choose.choice(("close", "unlink", "rename", "cut", "overwrite", "source", "reuse"))
        if after == "unlink":
            os.unlink(self._path(dst))
        elif after == "rename":
            path = self._path(dst)
            os.rename(path, f"{path}-renamed")
        elif after == "cut":
            os.ftruncate(target, BLOCK // 2)
        elif after == "overwrite":
            os.pwrite(target, b"z" * 5000, 0)
        elif after == "source":
            os.ftruncate(source, 10)
        os.close(source)
        os.close(target)
        if after == "source":
            self._make_source(which)
        elif after == "reuse":
            for _ in range(2):
                os.close(os.open(self._path(self._source(self._choose.randrange(SOURCES))), os.O_RDONLY))
        return after

    def _make_source(self, which: int) -> None:
        """Anew, with bytes of which half compress."""
        size = self._sizes[which]
        data = (self._choose.randbytes(size // 2) + b"again and again " * size)[:size]
        path = self._path(self._source(which))
        with open(path + "-new", "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        os.rename(path + "-new", path)

    def _source(self, which: int) -> str:
        return f"{self._name}.source{which}"

    def _path(self, name: str) -> str:
        return os.path.join(self._choose.choice(self._views), name)


def main() -> None:
    """Make the copies."""
    views, backing, name, seed, count = sys.argv[1:]
    client = Client(views.split(","), backing, name, int(seed))
    for number in range(int(count)):
        print(json.dumps(client.copy(number)))


if __name__ == "__main__":
    main()
