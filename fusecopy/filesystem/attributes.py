"""From the backing's stat to pyfuse3's attributes."""

import os

import pyfuse3

from fusecopy.filesystem.inodes import Inode


def entry(inode: Inode, st: os.stat_result, timeout: float) -> pyfuse3.EntryAttributes:
    """What the kernel is told of an inode; it may believe it for `timeout` seconds."""
    e = pyfuse3.EntryAttributes()
    fill(e, st)
    e.st_ino = inode.number
    e.generation = inode.generation
    inode.told_size = st.st_size
    e.entry_timeout = e.attr_timeout = timeout
    return e


def fill(e: pyfuse3.EntryAttributes, st: os.stat_result) -> None:
    """Copy everything but the inode number. st_blocks is the backing's: cp does not offer a file for which
    st_blocks * 512 < st_size to copy_file_range (coreutils 9.1)."""
    e.st_mode = st.st_mode
    e.st_nlink = st.st_nlink
    e.st_uid = st.st_uid
    e.st_gid = st.st_gid
    e.st_rdev = st.st_rdev
    e.st_size = st.st_size
    e.st_blksize = st.st_blksize
    e.st_blocks = st.st_blocks
    e.st_atime_ns = st.st_atime_ns
    e.st_mtime_ns = st.st_mtime_ns
    e.st_ctime_ns = st.st_ctime_ns
