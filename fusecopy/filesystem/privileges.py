"""Set-user-ID and set-group-ID bits of files that programs write into, or give another owner.

The kernel takes them away itself on other file systems (file_remove_privs, fs/inode.c). Here it leaves that
to the server (FUSE_HANDLE_KILLPRIV_V2), and the backing would leave them to a server that is root. File
capabilities go with every write to the backing, whoever makes it.
"""

import os
import stat

from fusecopy.filesystem.credentials import Context, standing

CAP_FSETID = 1 << 4


def drop_suidgid(fd: int, ctx: Context) -> None:
    """Take the bits from the file open as `fd` as a change by the caller does: setuid always, setgid where
    the group may execute it, or where the caller is neither of the group nor has CAP_FSETID
    (setattr_should_drop_sgid, Linux 6.2)."""
    st = os.fstat(fd)
    dropped = st.st_mode & stat.S_ISUID
    if st.st_mode & stat.S_ISGID and (st.st_mode & stat.S_IXGRP or not _keeps_setgid(st.st_gid, ctx)):
        dropped |= stat.S_ISGID
    if dropped:
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(st.st_mode) & ~dropped)


def keeps_suidgid(ctx: Context) -> bool:
    """Whether the caller has CAP_FSETID. Before copies and allocations the kernel also asks to drop what is
    to be dropped of a file with capabilities, and does not say for whom."""
    _, capabilities = standing(ctx.pid)
    return bool(capabilities & CAP_FSETID)


def _keeps_setgid(gid: int, ctx: Context) -> bool:
    groups, capabilities = standing(ctx.pid)
    return gid in (ctx.gid, *groups) or bool(capabilities & CAP_FSETID)
