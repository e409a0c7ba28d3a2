"""One directory seen through a mount, and one beside it on the same filesystem to compare with."""

import errno
import json
import os
import pickle
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.mounted import Mounted
from tests.tracepoints import READ, WRITE

Act = Callable[[Path], Any]

NOBODY = 65534


def outcome(act: Callable[[], Any]) -> Any:
    """What `act` returns, or the name of its errno."""
    try:
        return act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@dataclass(frozen=True)
class Sides:
    """A fresh directory in a mount, what lies behind it, and one beside it.

    Attributes:
        mounted: the mount.
        mount: the directory, in the mount.
        behind: the same directory, in the backing.
        native: another one on the backing's filesystem.
    """

    mounted: Mounted
    mount: Path
    behind: Path
    native: Path

    def both(self, act: Act) -> Any:
        """Do the same in the mount and natively; the outcomes must be equal, and are returned."""
        native = outcome(lambda: act(self.native))
        mount = outcome(lambda: act(self.mount))
        assert mount == native, f"in the mount {mount!r}, natively {native!r}"
        return mount

    def as_caller(self, act: Act, uid: int = NOBODY, gid: int = NOBODY, groups: Sequence[int] = ()) -> Any:
        """Like `both`, as another user."""
        native = as_caller(self.native, act, uid, gid, groups)
        mount = as_caller(self.mount, act, uid, gid, groups)
        assert mount == native, f"in the mount {mount!r}, natively {native!r}"
        return mount


def as_caller(
    directory: Path,
    act: Act,
    uid: int = NOBODY,
    gid: int = NOBODY,
    groups: Sequence[int] = (),
) -> Any:
    """The outcome of `act` in a child process of another user, in `directory` (which they need not reach)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.chdir(directory)
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            os.write(write, pickle.dumps(outcome(lambda: act(Path()))))
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    assert data, "the child failed"
    return pickle.loads(data)


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR, mode: int = 0o644) -> Iterator[int]:
    """An open descriptor, closed when the block ends."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def data_map(fd: int) -> list[tuple[int, int]]:
    """The stretches of data as lseek(2) finds them."""
    stretches: list[tuple[int, int]] = []
    end = 0
    while (start := outcome(partial(os.lseek, fd, end, os.SEEK_DATA))) != "ENXIO":
        end = os.lseek(fd, start, os.SEEK_HOLE)
        stretches.append((start, end))
    return stretches


def requests(mount: Mounted) -> Counter[int]:
    """Requests that a server has received so far, by opcode; this question, of GETXATTRs, among them."""
    received = json.loads(mount.attribute("stats"))["requests"]
    return Counter({int(opcode): count for opcode, count in received.items()})


def data_requests(mount: Mounted) -> int:
    """READs and WRITEs that a server has received so far."""
    received = requests(mount)
    return received[READ] + received[WRITE]
