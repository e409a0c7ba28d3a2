"""Where it is probed: images of btrfs, XFS and ext4, and mounts of them by the real command."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fusecopy import mounts
from fusecopy.errors import FusecopyError
from fusecopy.interrupts import ended_by_signals

MKFS = {
    "btrfs": ("mkfs.btrfs", "-q", "-m", "single"),
    "xfs": ("mkfs.xfs", "-q"),
    "ext4": ("mkfs.ext4", "-q", "-F"),
}
IMAGE_BYTES = 512 << 20
"""Sparse; mkfs.xfs makes nothing below 300 MiB."""

COMMAND_SECONDS = 300
DATA, DATA_BYTES = "data", 8 << 20
FUSECOPY = str(Path(sys.executable).with_name("fusecopy"))


@dataclass(frozen=True, slots=True)
class Ground:
    """A mount to probe in.

    Attributes:
        here: the mount point.
        backing: the directory served; DATA is in it.
        log: the dispatch log.
    """

    here: Path
    backing: Path
    log: Path

    @property
    def data(self) -> Path:
        """The file that is copied."""
        return self.here / DATA


class Place:
    """Filesystems and mounts, each made when the first probe wants it, all gone at the end."""

    def __init__(self, scratch: Path, stack: ExitStack) -> None:
        self._scratch = scratch
        self._stack = stack
        self._filesystems: dict[str, Path] = {}
        self._grounds: dict[tuple[str, ...], Ground | FusecopyError] = {}

    def ground(self, kind: str, *options: str) -> Ground:
        """A mount of a directory of its own, with these options.

        Raises:
            FusecopyError: the filesystem or the mount was refused; the same each time.
        """
        key = (kind, *options)
        if key not in self._grounds:
            try:
                self._grounds[key] = self._mounted(kind, options, f"{kind}-{len(self._grounds)}")
            except FusecopyError as error:
                said, *_ = error.message.removeprefix("fusecopy: ").splitlines()
                self._grounds[key] = FusecopyError(said.replace(f"{self._scratch}/", ""))
        found = self._grounds[key]
        if isinstance(found, FusecopyError):
            raise found
        return found

    def _mounted(self, kind: str, options: tuple[str, ...], name: str) -> Ground:
        backing = self._filesystem(kind) / name
        backing.mkdir()
        (backing / DATA).write_bytes(os.urandom(DATA_BYTES))
        run("sync", "--file-system", str(backing))
        point, log = self._scratch / name, self._scratch / f"{name}.jsonl"
        point.mkdir()
        words = ",".join(("allow_other", "no-io_uring", *options))
        run(FUSECOPY, "mount", "--log", str(log), "-o", words, str(backing), str(point))
        self._stack.callback(_unmount, point)
        return Ground(point, backing, log)

    def _filesystem(self, kind: str) -> Path:
        if kind not in self._filesystems:
            image, root = self._scratch / f"{kind}.img", self._scratch / f"{kind}-root"
            with image.open("wb") as file:
                file.truncate(IMAGE_BYTES)
            run(*MKFS[kind], str(image))
            root.mkdir()
            run("mount", "-o", "loop", str(image), str(root))
            self._stack.callback(run, "umount", str(root))
            self._filesystems[kind] = root
        return self._filesystems[kind]


@contextmanager
def place() -> Iterator[Place]:
    """A scratch place of one's own; for root."""
    with (
        ended_by_signals(),
        tempfile.TemporaryDirectory(prefix="fusecopy-probe-") as name,
        ExitStack() as stack,
    ):
        os.chmod(name, 0o755)  # one probe copies as nobody
        yield Place(Path(name), stack)


def run(*command: str) -> None:
    """Run a command to its end. Raises FusecopyError with what it said."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    environment = {**os.environ, "PATH": path, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, env=environment,
            stdin=subprocess.DEVNULL, start_new_session=True, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FusecopyError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise FusecopyError(done.stderr.strip() or f"{command[0]}: status {done.returncode}")


def _unmount(point: Path) -> None:
    if mounts.at(str(point)):
        try:
            run(FUSECOPY, "umount", str(point))
        except FusecopyError:
            run(FUSECOPY, "umount", "--abort", str(point))
