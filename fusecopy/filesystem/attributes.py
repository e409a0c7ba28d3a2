"""What the kernel is told of an inode; for how long it may believe attributes is native.nodes' to say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pyfuse3

from fusecopy.filesystem.inode import Inode
from fusecopy.serving import Entry, Listing


def told(inode: Inode, entry: Entry, timeout: float) -> Entry:
    """The attributes in `entry` as those of `inode`, whose name the kernel may believe for `timeout` seconds.

    st_blocks is the backing's: cp does not offer a file for which st_blocks * 512 < st_size to
    copy_file_range (coreutils 9.1).
    """
    native = entry.native
    native.number = inode.number
    native.generation = inode.generation
    native.entry_timeout = timeout
    return entry


def told_all(inodes: Sequence[Inode | None], listing: Listing, timeout: float) -> None:
    """The same for a batch of a listing, whose entries are those of `inodes`."""
    listing.number([inode.number if inode else 0 for inode in inodes], timeout)
    for index, inode in enumerate(inodes):
        if inode is not None and inode.generation:
            listing.entry(index).native.generation = inode.generation


@contextmanager
def asked_again_if_failed(number: int) -> Iterator[None]:
    """Have the kernel ask anew for attributes that a request changes, if that fails.

    It takes an error for no change (fuse_file_fallocate and fuse_do_setattr, Linux 6.1 to 7.2), but ext4
    keeps what it had allocated when it ran out of room, and of several changes the first may have been made.
    Waits for nothing: only pages would be waited for.
    """
    try:
        yield
    except OSError:
        with suppress(OSError):  # forgotten: then nothing is believed of it
            pyfuse3.invalidate_inode(number, attr_only=True)
        raise
