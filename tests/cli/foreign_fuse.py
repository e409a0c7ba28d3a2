"""Another program's FUSE filesystem, with two files of one block: `python foreign_fuse.py MOUNTPOINT`.

Says "ready" when it is mounted and ends when it is unmounted.
"""

import errno
import os
import stat
import sys

import pyfuse3
import trio

NAMES = {b"a": 2, b"b": 3}
BLOCK = 4096


class TwoFiles(pyfuse3.Operations):
    """Enough to find and to open the files."""

    async def getattr(self, inode: int, ctx: object = None) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        directory = inode == pyfuse3.ROOT_INODE
        entry.st_ino = inode
        entry.st_mode = stat.S_IFDIR | 0o755 if directory else stat.S_IFREG | 0o444
        entry.st_size = 0 if directory else BLOCK
        return entry

    async def lookup(self, parent: int, name: bytes, ctx: object = None) -> pyfuse3.EntryAttributes:
        if name not in NAMES:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return await self.getattr(NAMES[name])

    async def open(self, inode: int, flags: int, ctx: object) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=inode)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(BLOCK)[off : off + size]


def main() -> None:
    """Serve until unmounted."""
    pyfuse3.init(TwoFiles(), sys.argv[1], {"fsname=foreign", "subtype=twofiles"})
    os.write(1, b"ready\n")
    trio.run(pyfuse3.main)
    pyfuse3.close()


if __name__ == "__main__":
    main()
