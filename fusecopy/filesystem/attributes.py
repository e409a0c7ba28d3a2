"""What the kernel is told of an inode."""

from collections.abc import Sequence

from fusecopy.filesystem.inodes import Inode
from fusecopy.libfuse import Entry, Found, Listing


def told(inode: Inode, entry: Entry, timeout: float) -> Entry:
    """The attributes in `entry` as those of `inode`, which the kernel may believe for `timeout` seconds; not
    at all where others may change them unseen.

    st_blocks is the backing's: cp does not offer a file for which st_blocks * 512 < st_size to
    copy_file_range (coreutils 9.1).
    """
    native = entry.native
    native.number = inode.number
    native.generation = inode.generation
    native.entry_timeout = timeout
    native.attr_timeout = 0.0 if inode.mapped else timeout
    inode.told_size = entry.st_size
    return entry


def told_all(
    inodes: Sequence[Inode | None], found: Sequence[Found], listing: Listing, timeout: float
) -> None:
    """The same for a batch of a listing, whose entries are those of `inodes`."""
    listing.number([inode.number if inode else 0 for inode in inodes], timeout)
    for index, inode in enumerate(inodes):
        if inode is not None:
            inode.told_size = found[index].size
            if inode.generation or inode.mapped:
                told(inode, listing.entry(index), timeout)
