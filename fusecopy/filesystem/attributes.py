"""What the kernel is told of an inode.

A GETATTR that the native layer answers by itself tells the same: number, size and timeout are `nodes.tell`'s.
"""

from fusecopy.filesystem.inodes import Inode
from fusecopy.libfuse import Entry, nodes


def told(inode: Inode, entry: Entry, timeout: float) -> Entry:
    """The attributes in `entry` as those of `inode`, whose name the kernel may believe for `timeout` seconds.

    st_blocks is the backing's: cp does not offer a file for which st_blocks * 512 < st_size to
    copy_file_range (coreutils 9.1).
    """
    native = entry.native
    native.generation = inode.generation
    native.entry_timeout = timeout
    nodes.tell(inode.number, entry)
    return entry
