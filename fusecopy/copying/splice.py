"""The path `splice`: file to pipe to file. The kernel copies the bytes and user space never sees them."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fusecopy.copying.limits import MIB, Limits
from fusecopy.copying.moving import Result, drain, move
from fusecopy.copying.records import Request

SMALLEST_GAIN = 128 << 10
"""Twice what a pipe holds by default."""


def carry(job: Request, limits: Limits) -> Result:
    """Carry `job` by chunks of a private pipe's capacity, each drained before the next is taken."""
    try:
        with _pipe(job.length) as (reader, writer, capacity):

            def step(offset_in: int, offset_out: int, length: int) -> tuple[int, int]:
                wanted = limits.room(min(length, capacity))
                try:
                    taken = os.splice(job.source, writer, wanted, offset_src=offset_in)
                except OSError as error:
                    return 0, error.errno or errno.EIO
                moved, failed = drain(
                    lambda done: os.splice(
                        reader, job.destination, taken - done, offset_dst=offset_out + done
                    ),
                    taken,
                )
                limits.spend(moved)
                return moved, failed

            return move(job, step, limits)
    except OSError as error:
        return Result(0, error.errno or errno.EIO, reason="no pipe")


@contextmanager
def _pipe(length: int) -> Iterator[tuple[int, int, int]]:
    """A pipe for `length` bytes: (read end, write end, capacity in bytes)."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        yield reader, writer, _enlarge(writer, length)
    finally:
        os.close(reader)
        os.close(writer)


def _enlarge(pipe: int, length: int) -> int:
    """Grow the pipe to 1 MiB or the most that pipe-max-size and the user's share of pipe pages permit."""
    size = MIB
    while size >= SMALLEST_GAIN and length >= SMALLEST_GAIN:
        try:
            return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            size //= 2
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
