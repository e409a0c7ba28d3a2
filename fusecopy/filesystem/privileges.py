"""Set-user-ID and set-group-ID bits of files that programs without CAP_FSETID write into.

The kernel takes them away itself on other file systems (file_remove_privs, fs/inode.c). Here it leaves that
to the server (FUSE_HANDLE_KILLPRIV_V2), and the backing would leave them to a server that is root. File
capabilities go with every write to the backing, whoever makes it.
"""

import os
import stat

from fusecopy.filesystem.caller import Context, effective_capabilities, supplementary_groups

CAP_FSETID = 1 << 4


def drop_suidgid(fd: int, ctx: Context) -> None:
    """Take the bits from the file open as `fd` as for a write by the caller: setuid always, setgid where the
    group may execute it or the caller is not of the group (setattr_should_drop_suidgid, Linux 6.2)."""
    st = os.fstat(fd)
    dropped = st.st_mode & stat.S_ISUID
    if st.st_mode & stat.S_IXGRP or st.st_gid not in (ctx.gid, *supplementary_groups(ctx.pid)):
        dropped |= st.st_mode & stat.S_ISGID
    if dropped:
        os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(st.st_mode) & ~dropped)


def keeps_suidgid(ctx: Context) -> bool:
    """Whether the caller has CAP_FSETID. Before copies and allocations the kernel also asks to drop what is
    to be dropped of a file with capabilities, and does not say for whom."""
    return bool(effective_capabilities(ctx.pid) & CAP_FSETID)
