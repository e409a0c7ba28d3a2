"""Compressing what a log was rotated to, beside the server's work."""

import gzip
import logging
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from fusecopy.dispatch.files import names, numbers
from fusecopy.dispatch.part import Part

NICE = 19
"""A thread has a nice value of its own (setpriority(2), Linux)."""

FIRST = 2
"""FILE.1 stays as it is, for those who are reading it (as with logrotate's delaycompress)."""

LEVEL = 6
"""On a log 20:1 at 70 MB/s; 9 takes four times as long for a tenth less."""

NEW = os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

log = logging.getLogger(__name__)


class Compressor:
    """Compresses the rotated files of one log, by gzip, in a thread that ends when there are none left.

    A file keeps its times and mode. Whoever reads meets it under one of its two names, or both, at any
    moment; what a crash leaves behind is done by the next run.

    Args:
        path: the log's newest file.
        moving: held while files are renamed, by the rotation too.
    """

    def __init__(self, path: Path, moving: threading.Lock) -> None:
        self._path = path
        self._moving = moving
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Have everything compressed, unless that is under way: then it comes to the newest, too."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="log-compression", daemon=True)
            self._thread.start()

    def wait(self, timeout: float) -> None:
        """Wait, at most `timeout` seconds, until what was started is done."""
        if self._thread:
            self._thread.join(timeout)

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            while plain := self._next():
                with suppress(FileNotFoundError):  # it was rotated just now, and is found anew
                    self._compress(plain)
        except OSError as error:
            log.error("%s: rotated files are not compressed: %s", self._path, error.strerror)

    def _next(self) -> Path | None:
        """The oldest that is not compressed; one that is, but for its removal, is removed."""
        for number in reversed(numbers(self._path)):
            plain, packed = names(self._path, number)
            if number >= FIRST and plain.exists() and not self._is_done(plain, packed):
                return plain
        return None

    def _is_done(self, plain: Path, packed: Path) -> bool:
        """Whether there is nothing to do: of two different files of one number both stay."""
        if not packed.exists():
            return False
        with self._moving:
            one, other = Part(plain), Part(packed)
            if other.is_copy_of(one):
                plain.unlink()
            one.close()
            other.close()
        return True

    def _compress(self, plain: Path) -> None:
        new = self._path.with_name(f"{self._path.name}.compressing")
        with open(plain, "rb") as source:
            status = os.fstat(source.fileno())
            with open(os.open(new, os.O_WRONLY | NEW, 0o600), "wb") as target:
                with gzip.GzipFile("", "wb", LEVEL, target, status.st_mtime) as packed:
                    shutil.copyfileobj(source, packed, 1 << 20)
                os.fchmod(target.fileno(), status.st_mode & 0o7777)
                _give(target, status)
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
            with self._moving:
                self._replace(status, new)

    def _replace(self, status: os.stat_result, new: Path) -> None:
        """Put the compressed file in the place of the plain one, wherever that was rotated to meanwhile. The
        plain one goes only where it is that file: logrotate may rename what it finds, at any moment."""
        for number in numbers(self._path):
            plain, packed = names(self._path, number)
            with suppress(FileNotFoundError):
                if os.path.samestat(plain.stat(), status) and not packed.exists():
                    new.rename(packed)
                    aside = plain.rename(self._path.with_name(f"{self._path.name}.compressed"))
                    if os.path.samestat(aside.stat(), status):
                        aside.unlink()
                    else:
                        aside.rename(plain)
                        packed.unlink()
                    return
        new.unlink()


def _give(file: BinaryIO, status: os.stat_result) -> None:
    """Its owner and group, as far as we may."""
    with suppress(PermissionError):
        os.fchown(file.fileno(), status.st_uid, status.st_gid)
