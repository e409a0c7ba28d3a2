"""Going into the background, so that the command ends only once the mount answers, or says why it does not.

The fork comes before trio, pyfuse3 and any thread: none of them survives one.
"""

import json
import logging
import os
import stat
import traceback
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, NoReturn

from fusecopy.cli import inherited
from fusecopy.errors import Exit, FusecopyError
from fusecopy.terminal import printable

DIAGNOSTICS_BYTES = 10 << 20
DIAGNOSTICS_FILES = 5


def run_in_background(serve: Callable[[Callable[[], None]], None], diagnostics: Path, keep: int) -> int:
    """Fork a server and wait until it calls the function it is given, or fails.

    Args:
        serve: run in the child; it calls its argument when it is ready, and returns when it has ended.
        diagnostics: file for the child's warnings and errors.
        keep: a descriptor that the child needs.

    Returns:
        The child's process id.

    Raises:
        FusecopyError: what the child raised before it was ready, with its exit status.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(serve, writing, diagnostics, keep)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        message = pipe.read()
    if message == b"ready":
        return pid
    os.waitpid(pid, 0)
    raise _failure(message)


def _failure(message: bytes) -> FusecopyError:
    if not message:
        return FusecopyError("the server ended before the mount answered", "run it with -f to see why")
    told = json.loads(message)
    error = FusecopyError(told["message"], told["remedy"])
    error.exit_status = Exit(told["status"])
    return error


def _child(
    serve: Callable[[Callable[[], None]], None], writing: int, diagnostics: Path, keep: int
) -> NoReturn:
    """Become the server; never returns into the command."""

    def ready() -> None:
        _detach_output()
        os.write(writing, b"ready")
        os.close(writing)

    status = Exit.OK
    try:
        os.setsid()
        inherited.leave_behind(writing, keep)
        log_to(diagnostics)
        serve(ready)
    except FusecopyError as error:
        status = error.exit_status
        _tell(writing, error)
    except BaseException as error:
        status = Exit.FAILURE
        logging.getLogger(__name__).critical("the server ended with an error", exc_info=True)
        traceback.print_exc()
        _tell(writing, FusecopyError(f"the server ended with an error: {error!r}"))
    finally:
        logging.shutdown()
        os._exit(status)


def _tell(writing: int, error: FusecopyError) -> None:
    """To the waiting command; after readiness nobody waits, and the diagnostics have it."""
    told = {"status": int(error.exit_status), "message": error.message, "remedy": error.remedy}
    try:
        os.write(writing, json.dumps(told).encode())
    except OSError:
        logging.getLogger(__name__).error("%s", error)


def _detach_output() -> None:
    """The terminal may be closed while the server goes on."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.close(null)


def log_to(diagnostics: Path | None) -> None:
    """Send the server's own warnings to a file, which is made when the first one comes, or to stderr."""
    handler: logging.Handler = _Diagnostics(diagnostics) if diagnostics else logging.StreamHandler()
    handler.setFormatter(_Printable("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _Printable(logging.Formatter):
    """Messages name files, and people read them on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


class _Diagnostics(RotatingFileHandler):
    """A file for the server's user alone, whatever the umask; never one that a link leads to."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            maxBytes=DIAGNOSTICS_BYTES,
            backupCount=DIAGNOSTICS_FILES,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )

    def _open(self) -> IO[str]:  # type: ignore[override]
        return open(
            self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_open_private
        )


def _open_private(path: str, flags: int) -> int:
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
        with suppress(PermissionError):  # another's
            os.fchmod(fd, 0o600)
    return fd
