"""Mounts of a server's directories, and what tests of both kinds of server do there."""

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusecopy.copying import errnos
from fusecopy.dispatch.records import Copy
from tests.mounted import FUSECOPY, Mounted

NFS_VERSIONS = ("4.2", "4.1")
"""The first has CLONE and COPY, the second neither."""


@dataclass(frozen=True, slots=True)
class Client:
    """A mount of a directory of the server's.

    Attributes:
        client: where the client has it mounted.
        server: the directory itself, as the server sees it.
    """

    client: Path
    server: Path


@dataclass(frozen=True, slots=True)
class Smb(Client):
    """Of SMB 3.1.1."""


@dataclass(frozen=True, slots=True)
class Nfs(Client):
    """Of NFS.

    Attributes:
        version: of the protocol.
    """

    version: str

    @property
    def clones(self) -> bool:
        """The protocol has CLONE and COPY."""
        return self.version == "4.2"

    def operations(self) -> dict[str, int]:
        """How many of each operation the client has sent for this mount (/proc/self/mountstats)."""
        stats = Path("/proc/self/mountstats").read_text()
        (mine,) = [part for part in stats.split("\ndevice ") if f" mounted on {self.client} " in part]
        return {name: int(count) for name, count in re.findall(r"^\s+([A-Z_]+): (\d+) ", mine, re.MULTILINE)}

    @contextmanager
    def counted(self) -> Iterator[dict[str, int]]:
        """The operations sent meanwhile, there when the block has ended."""
        found: dict[str, int] = {}
        before = self.operations()
        yield found
        found.update({name: n - before[name] for name, n in self.operations().items() if n != before[name]})


def data(client: Client, size: int) -> bytes:
    """A file of that name and size, made on the server; what is in it."""
    content = os.urandom(size)
    (client.server / "data").write_bytes(content)
    return content


def fusecopy(*words: str | Path) -> str:
    """What a command that succeeds prints; fails with what it said where it does not."""
    done = subprocess.run([FUSECOPY, *map(str, words)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def only_copy(mount: Mounted) -> Copy:
    """The one copy that its log has."""
    (copy,) = mount.copies(1)
    return copy


def opening(file: Path) -> str:
    """What comes of opening it to read: `opened`, or the errno's name."""
    try:
        file.open("rb").close()
    except OSError as error:
        return errnos.name(error.errno or 0)
    return "opened"


def eventually(holds: Callable[[], bool], seconds: float = 90.0) -> None:
    """Return when it holds, for which a client with a cache may take a while; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        select.select([], [], [], 0.1)
