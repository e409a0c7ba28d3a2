"""What went over the wire, as the client counts it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NFS_VERSIONS = ("4.2", "4.1")
"""The first has CLONE and COPY, the second neither."""


@dataclass(frozen=True, slots=True)
class Nfs:
    """A mount of a directory of the server's.

    Attributes:
        client: where the client has it mounted.
        server: the directory itself, as the server sees it.
        version: of the protocol.
    """

    client: Path
    server: Path
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
