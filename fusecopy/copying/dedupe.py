"""The path `dedupe`: FIDEDUPERANGE. Bytes that the destination holds already become shared."""

import errno

from fusecopy.copying import calls
from fusecopy.copying.blocks import Piece, split
from fusecopy.copying.calls import Files
from fusecopy.copying.limits import MIB, Limits
from fusecopy.copying.moving import Result
from fusecopy.copying.records import Request

CHUNK = 16 * MIB
"""Bytes compared in one call; btrfs works in pieces of this size, and kernels before 4.18 clamp to it."""

DIFFERS = "differs"


def pieces(job: Request, files: Files) -> list[Piece]:
    """What of `job` can be shared."""
    return split(job, files.block, _ends_both(job, files))


def carry(job: Request, limits: Limits) -> Result:
    """Verify and share `job` chunk by chunk; a chunk that differs anywhere ends it and is left as it was."""
    done = 0
    while done < job.length:
        if stop := limits.interruption():
            return Result(done, stop=stop)
        length = min(job.length - done, CHUNK)
        try:
            same, verified = calls.dedupe_range(
                job.source, job.offset_in + done, length, job.destination, job.offset_out + done
            )
            files = calls.look(job.source, job.destination)
        except OSError as error:
            return Result(done, error.errno or errno.EIO)
        if not same:
            return Result(done, reason=DIFFERS)
        done += min(length, verified)
        if not verified:
            return Result(done, reason="nothing was compared")
        overhang = min(length, verified) % (files.block or 1)
        if overhang and not _ends_both(job, files):
            # The kernel reports such a length as done but rounds it down before it compares.
            return Result(done - overhang, errno.EINVAL, reason="the tail is no whole block")
    return Result(done)


def _ends_both(job: Request, files: Files) -> bool:
    ends_source = job.offset_in + job.length == files.size_in
    return ends_source and job.offset_out + job.length == files.size_out
