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
OVERHANG = "the tail is not a whole block"


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
            over = overhang(job, done + min(length, verified))
        except OSError as error:
            return Result(done, error.errno or errno.EIO)
        if not same:
            return Result(done, reason=DIFFERS)
        done += min(length, verified)
        if not verified:
            return Result(done, reason="nothing was compared")
        if over:
            return Result(done - over, errno.EINVAL, reason=OVERHANG)
    return Result(done)


def overhang(job: Request, done: int) -> int:
    """Bytes at the end of what the kernel reports as deduped that it has left alone: it rounds a length down
    to whole blocks before it compares, unless both files end there (generic_remap_check_len).

    Args:
        done: bytes reported, from the beginning of `job`.

    Raises:
        OSError: a descriptor is closed.
    """
    files = calls.look(job.source, job.destination)
    ends_both = job.offset_in + done == files.size_in and job.offset_out + done == files.size_out
    return 0 if ends_both else done % (files.block or 1)


def _ends_both(job: Request, files: Files) -> bool:
    ends_source = job.offset_in + job.length == files.size_in
    return ends_source and job.offset_out + job.length == files.size_out
