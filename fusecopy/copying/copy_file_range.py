"""The path `copy_file_range`: the backing's own copy. btrfs and XFS share what is aligned, others splice.

On FUSE the call returns the same whether that filesystem's server carried the copy or the kernel spliced it
there (fuse_copy_file_range, fs/fuse/file.c, Linux 5.3 to 7.3), so that is said to be unknown.
"""

import errno
import os
import time

from fusecopy.copying import filesystems
from fusecopy.copying.limits import MIB, Limits
from fusecopy.copying.moving import Result, move
from fusecopy.copying.records import Request

FIRST_CHUNK = 16 * MIB
MOST = 0x7FFFF000
"""MAX_RW_COUNT: one call does no more on filesystems that share or splice."""

ON_FUSE = "the backing is FUSE: by its server or by the kernel's splice, which is not seen here"

SHARING_RATE = 64 << 30
"""Bytes per second above which a chunk was shared: no page cache is copied so fast. It only sizes chunks."""


class _Chunks:
    """The step of one call: 16 MiB at first, twice as much each time that went as fast as sharing goes."""

    def __init__(self, job: Request, limits: Limits) -> None:
        self._job = job
        self._limits = limits
        self._size = FIRST_CHUNK

    def step(self, offset_in: int, offset_out: int, length: int) -> tuple[int, int]:
        asked = min(length, self._size)
        if self._size == FIRST_CHUNK:
            asked = self._limits.room(asked)
        began = time.monotonic()
        try:
            moved = os.copy_file_range(self._job.source, self._job.destination, asked, offset_in, offset_out)
        except OSError as error:
            return 0, error.errno or errno.EIO
        shared = moved > SHARING_RATE * (time.monotonic() - began)
        self._size = min(2 * self._size, MOST) if shared else FIRST_CHUNK
        self._limits.spend(0 if shared else moved)
        return moved, 0


def carry(job: Request, limits: Limits) -> Result:
    """Carry `job` by copy_file_range. Short returns are normal: btrfs and XFS give 8192 for 10000."""
    result = move(job, _Chunks(job, limits).step, limits)
    if result.carried and filesystems.mount_of(job.destination).is_fuse:
        return result._replace(reason=result.reason or ON_FUSE)
    return result
