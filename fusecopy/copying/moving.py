"""What the paths that move bytes have in common: chunk by chunk along the source's data, past its holes."""

import errno
from collections.abc import Callable
from typing import NamedTuple

from fusecopy.copying.holes import leave_hole, segments
from fusecopy.copying.limits import Limits, Stop
from fusecopy.copying.records import Request


class Result(NamedTuple):
    """How far a path came.

    Attributes:
        carried: bytes carried, from the beginning of what it was asked for.
        errno: the error that ended it, or 0.
        stop: why it ended early without an error.
        reason: in a few words, where neither of them says it.
    """

    carried: int
    errno: int = 0
    stop: Stop | None = None
    reason: str = ""


Step = Callable[[int, int, int], tuple[int, int]]
"""Move one chunk: (offset_in, offset_out, most bytes) -> (bytes that reached the destination, errno or 0).

(0, 0) means that the source has ended. A step spends from the limits what it moved."""


def move(job: Request, step: Step, limits: Limits) -> Result:
    """Carry `job` by steps; holes of the source stay holes, or are moved as zeros where none can be made."""
    done = 0
    for segment in segments(job.source, job.offset_in, job.length):
        if stop := limits.stop():
            return Result(done, stop=stop)
        if segment.hole and leave_hole(job.destination, job.offset_out + done, segment.length):
            limits.spend(0)
            done += segment.length
            continue
        result = _move_data(job.offset_in + done, job.offset_out + done, segment.length, step, limits)
        done += result.carried
        if result.carried < segment.length:
            return result._replace(carried=done)
    return Result(done, stop=Stop.ENDED if done < job.length else None)


def _move_data(offset_in: int, offset_out: int, length: int, step: Step, limits: Limits) -> Result:
    done = 0
    while done < length:
        if stop := limits.stop():
            return Result(done, stop=stop)
        moved, error = step(offset_in + done, offset_out + done, length - done)
        done += moved
        if error:
            return Result(done, error)
        if not moved:
            return Result(done, stop=Stop.ENDED)
    return Result(done)


def drain(write: Callable[[int], int], length: int) -> tuple[int, int]:
    """Call `write(bytes already written)` until `length` is written: (bytes written, errno or 0)."""
    done = 0
    while done < length:
        try:
            written = write(done)
        except OSError as error:
            return done, error.errno or errno.EIO
        if not written:
            return done, errno.EIO
        done += written
    return done, 0
