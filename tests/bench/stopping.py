"""A FUSE filesystem whose server stops when a file is opened: `python stopping.py MOUNTPOINT`."""

import os
import signal
import sys

import pyfuse3
import trio

from tests.cli.foreign_fuse import TwoFiles


class Stopping(TwoFiles):
    """Lets the caller of open wait for ever."""

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        os.kill(os.getpid(), signal.SIGSTOP)
        return await super().open(inode, flags, ctx)


if __name__ == "__main__":
    pyfuse3.init(Stopping(), sys.argv[1], {"fsname=stopping"})
    trio.run(pyfuse3.main)
    pyfuse3.close()
