"""The path `readwrite`: through one buffer of this process, which works wherever reading and writing does."""

import errno
import os

from fusecopy.copying.limits import MIB, Limits
from fusecopy.copying.moving import Result, drain, move
from fusecopy.copying.records import Request

CHUNK = MIB


def carry(job: Request, limits: Limits) -> Result:
    """Carry `job` by preadv and pwritev. The only path on which the bytes pass through user space."""
    buffer = memoryview(bytearray(min(job.length, CHUNK)))

    def step(offset_in: int, offset_out: int, length: int) -> tuple[int, int]:
        wanted = limits.room(min(length, len(buffer)))
        try:
            taken = os.preadv(job.source, [buffer[:wanted]], offset_in)
        except OSError as error:
            return 0, error.errno or errno.EIO
        moved, failed = drain(
            lambda done: os.pwritev(job.destination, [buffer[done:taken]], offset_out + done), taken
        )
        limits.spend(moved)
        return moved, failed

    return move(job, step, limits)
