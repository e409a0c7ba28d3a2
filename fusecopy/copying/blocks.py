"""What of a range can be shared block by block.

The kernel's rules (generic_remap_checks, since 4.20): both offsets are multiples of the destination's block
size; the length is one too, unless the range ends where the source ends and the destination's end is not
before its size.
"""

from typing import NamedTuple

from fusecopy.copying.records import Request


class Piece(NamedTuple):
    """A piece of a range; `refused` says in a few words why it cannot be shared, empty where it can."""

    length: int
    refused: str = ""


def split(job: Request, block: int, tail_too: bool) -> list[Piece]:
    """The pieces of `job` in order: an unaligned head, the aligned body, an unaligned tail, each where there
    is one.

    Args:
        block: the destination's block size in bytes.
        tail_too: a tail smaller than a block may be shared, as the range ends where the files do.
    """
    if (job.offset_in - job.offset_out) % block:
        return [Piece(job.length, f"the offsets differ within a block of {block}")]
    head = -job.offset_in % block
    tail = 0 if tail_too else (job.offset_in + job.length) % block
    body = job.length - head - tail
    if body <= 0:
        return [Piece(job.length, f"holds no whole block of {block}")]
    pieces = [Piece(body)]
    if head:
        pieces.insert(0, Piece(head, f"the head before the first whole block of {block}"))
    if tail:
        pieces.append(Piece(tail, f"the tail after the last whole block of {block}"))
    return pieces
