"""The path `reflink`: FICLONERANGE. Shares extents, moves nothing, and takes a range of any size at once."""

import os

from fusecopy.copying import calls
from fusecopy.copying.blocks import Piece, split
from fusecopy.copying.limits import Limits
from fusecopy.copying.moving import Result
from fusecopy.copying.records import Request


def pieces(job: Request) -> list[Piece]:
    """What of `job` can be cloned. Raises OSError where the destination does not tell its block size."""
    ends_source = job.offset_in + job.length == os.fstat(job.source).st_size
    ends_destination = job.offset_out + job.length >= os.fstat(job.destination).st_size
    return split(job, calls.block_size(job.destination), ends_source and ends_destination)


def carry(job: Request, limits: Limits) -> Result:
    """Clone the whole of `job` or nothing."""
    if stop := limits.interruption():
        return Result(0, stop=stop)
    try:
        calls.clone_range(job.source, job.offset_in, job.length, job.destination, job.offset_out)
    except OSError as error:
        return Result(0, error.errno or 0)
    return Result(job.length)
