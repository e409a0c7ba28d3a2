"""Why a copy reached the server as READs and WRITEs: nobody asked it, or it has asked not to be asked.

Keeps the ledger of permanent decisions: an operation once answered ENOSYS is not asked for again on this
connection (fs/fuse, Linux 6.1 to 7.2), and only a new mount changes that.
"""

import threading
from dataclasses import asdict, dataclass

from fusecopy import mounts
from fusecopy.observe import opcodes

COPYING_TOOLS = ("cp", "mv", "install")
"""Of coreutils, which copy by one function."""

LEAST_PIPE_WRITES = 4
"""Fewer may be of that size by chance."""

UNSERVED = {
    "BMAP": "swap files and FIBMAP are refused",
    "POLL": "poll(2) says that files are always ready",
    "SYNCFS": "syncfs(2) does not reach the backing",
}
"""Operations this server does not have, and what that means: their first request is answered ENOSYS."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the kernel does not ask this connection any more.

    Attributes:
        operation: the opcode's name.
        meaning: what that is for a program.
        seq: the record of the copy that caused it; None where it was no copy.
    """

    operation: str
    meaning: str
    seq: int | None = None


class Undispatched:
    """Explains undispatched copies of one mount. Methods may run in any thread.

    Attributes:
        device: the mount's st_dev, known before the first request.
    """

    def __init__(self) -> None:
        self.device = 0
        self._lock = threading.Lock()
        self._no_copies: int | None = None

    def no_copies(self, seq: int) -> None:
        """The copy of record `seq` was answered with ENOSYS."""
        with self._lock:
            self._no_copies = self._no_copies or seq

    def ledger(self, requests: dict[int, int]) -> list[dict[str, object]]:
        """Permanent decisions so far, from the requests received, by opcode."""
        asked = {opcodes.name(opcode) for opcode in requests}
        decisions = [Decision(name, meaning) for name, meaning in UNSERVED.items() if name in asked]
        with self._lock:
            if self._no_copies:
                meaning = "the kernel does copy_file_range by its own splice"
                decisions.append(Decision("COPY_FILE_RANGE", meaning, self._no_copies))
        return [asdict(decision) for decision in decisions]

    def fallback(self, device: int | None) -> tuple[str, str]:
        """Cause and remedy of a copy_file_range that the kernel carried without asking
        (__fuse_copy_file_range, Linux 5.3 to 7.2). `device` is the source's where it is not in this mount."""
        if device is not None:
            return self._two_mounts(device), "Copy inside one mount."
        with self._lock:
            seq = self._no_copies
        if seq:
            return (
                f"Record {seq} was answered with ENOSYS; the kernel no longer asks this mount for copies.",
                "Unmount and mount again.",
            )
        return "The kernel copied by its own splice without asking; why is not known.", ""

    def bypass(self, driver: str, comm: str, sparse: bool) -> tuple[str, str]:
        """Cause and remedy of a copy that the program made itself. `sparse`: the source has fewer blocks than
        its size needs."""
        if sparse and comm in COPYING_TOOLS:
            return (
                f"{comm} does not offer a file with st_blocks * 512 < st_size to copy_file_range"
                " (coreutils 9.1).",
                "Allocate the source's holes, or use a program that asks for copy_file_range.",
            )
        return f"The program moved the bytes itself ({driver}) and asked for no offload.", ""

    def unseen(self, writes: int, pipe_writes: int) -> tuple[str, str]:
        """Cause of a copy whose driver is unknown, as far as the size of its WRITEs tells it: all but the
        first and the last of a splice between two files are as large as the kernel's pipe."""
        if pipe_writes >= LEAST_PIPE_WRITES and pipe_writes >= writes - 2:
            size = "Its WRITEs are of 64 KiB, as large as the kernel's pipe"
            return f"{size}: copy_file_range, sendfile or splice.", ""
        return "", ""

    def _two_mounts(self, device: int) -> str:
        there = mounts.on(device)
        name = f"{there.mountpoint}, " if there else ""
        return (
            f"The source lies on another mount ({name}st_dev {mounts.number(device)}; this one is"
            f" {mounts.number(self.device)}), so the kernel asked no server."
        )
