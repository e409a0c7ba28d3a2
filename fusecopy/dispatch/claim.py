"""Taking a log for one server, before anything is mounted."""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fusecopy.dispatch.files import names, numbers
from fusecopy.dispatch.logfile import is_log, open_locked
from fusecopy.dispatch.reader import current
from fusecopy.dispatch.records import Header
from fusecopy.errors import LogError

WAIT_SECONDS = 5.0
"""How long a server that has been unmounted may take to write its last records."""

POLL_SECONDS = 0.05


class Claim(NamedTuple):
    """A log that is ours: its file, the descriptor that locks it, and whether the file was made for it."""

    path: Path
    descriptor: int
    made: bool

    def give_up(self) -> None:
        """Let go of it where nothing was mounted; a file that was made for it goes too."""
        with suppress(OSError):
            if self.made and not os.fstat(self.descriptor).st_size:
                self.path.unlink()
        with suppress(OSError):
            os.close(self.descriptor)


class BusyError(LogError):
    """Another server writes the log."""


def claim(path: Path, seconds: float = WAIT_SECONDS) -> Claim:
    """Open a log, or make it with the directories that are missing, and lock it for as long as this process
    or one that it forks has the descriptor.

    Raises:
        BusyError: another server still has it after so many seconds.
        LogError: it cannot be written, or it or what it would be rotated over is something else.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            make_private(path.parent)
            _check_rotated(path)
            return Claim(path, *open_locked(path))
        except BlockingIOError as error:
            if time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            raise _busy(path) from error
        except OSError as error:
            raise cannot_be_written(path, error) from error


def make_private(directory: Path) -> None:
    """Make a directory with what is missing above it, each for its owner alone: to a parent that it makes,
    mkdir(parents=True) gives whatever mode the umask leaves."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def cannot_be_written(path: Path, error: OSError) -> LogError:
    """What is said of a log that the server cannot have."""
    if error.errno == errno.EEXIST:
        return LogError(f"{error.filename or path} is not a dispatch log", "Name a new file.")
    return LogError(
        f"{path}: the dispatch log cannot be written: {error.strerror}",
        "Name a regular file in a directory that you may write.",
    )


def _check_rotated(path: Path) -> None:
    """Rotation would lose what lies there. Raises OSError (EEXIST)."""
    for other in [name for number in numbers(path) for name in names(path, number)]:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(other.lstat().st_mode):
                raise FileExistsError(errno.EEXIST, "not a dispatch log", str(other))
            fd = os.open(other, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if not is_log(fd):
                    raise FileExistsError(errno.EEXIST, "not a dispatch log", str(other))
            finally:
                os.close(fd)


def _busy(path: Path) -> BusyError:
    who = ""
    with suppress(LogError):
        header = next(current(path), None)
        if isinstance(header, Header):
            who = f", pid {header.pid}, which was mounted at {header.mount}"
    return BusyError(
        f"{path}: another server writes this dispatch log{who}",
        "Name another file with --log, or end that server; one whose mount was detached lazily ends with the"
        " last program that is still in it.",
    )
