"""The path `reflink`: FICLONERANGE. Shares extents, moves nothing, and takes a range of any size at once."""

from fusecopy.copying import calls
from fusecopy.copying.blocks import Piece, split
from fusecopy.copying.calls import Files
from fusecopy.copying.limits import Limits
from fusecopy.copying.moving import Result
from fusecopy.copying.records import Request


def pieces(job: Request, files: Files) -> list[Piece]:
    """What of `job` can be cloned."""
    ends_source = job.offset_in + job.length == files.size_in
    ends_destination = job.offset_out + job.length >= files.size_out
    return split(job, files.block, ends_source and ends_destination)


def carry(job: Request, limits: Limits) -> Result:
    """Clone the whole of `job` or nothing."""
    if stop := limits.interruption():
        return Result(0, stop=stop)
    try:
        calls.clone_range(job.source, job.offset_in, job.length, job.destination, job.offset_out)
    except OSError as error:
        return Result(0, error.errno or 0)
    return Result(job.length)
