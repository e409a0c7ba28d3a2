"""The path `sendfile`: the kernel's own pipe between two files, 16 pages at a time."""

import errno
import os

from fusecopy.copying.limits import MIB, Limits
from fusecopy.copying.moving import Result, move
from fusecopy.copying.records import Request

CHUNK = 16 * MIB


def carry(job: Request, limits: Limits) -> Result:
    """Carry `job` by sendfile.

    sendfile writes at the destination's file position, which is one for all who hold the descriptor. So it
    gets a description of its own; opening that may be refused (EACCES, EPERM) where the descriptor at hand
    may write.
    """
    try:
        private = os.open(f"/proc/self/fd/{job.destination}", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        return Result(0, error.errno or errno.EIO, reason="the destination cannot be opened again")

    def step(offset_in: int, offset_out: int, length: int) -> tuple[int, int]:
        try:
            os.lseek(private, offset_out, os.SEEK_SET)
            moved = os.sendfile(private, job.source, offset_in, limits.room(min(length, CHUNK)))
        except OSError as error:
            return 0, error.errno or errno.EIO
        limits.spend(moved)
        return moved, 0

    try:
        return move(job, step, limits)
    finally:
        os.close(private)
