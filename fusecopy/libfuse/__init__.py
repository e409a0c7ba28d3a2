"""pyfuse3, with the operations it lacks and a request loop that answers where it receives.

Import this package before pyfuse3 (it imports pyfuse3 itself), derive from `Operations`, whose methods are
plain ones, and use `init`, `main` and `close` where you would use pyfuse3's. Added are `copy_file_range`,
`lseek`, `fallocate` and `ioctl`, a `setattr` that can tell UTIME_NOW from a time, listings with and without
attributes, and reads and writes served from a file descriptor without passing through Python (`NativeFile`).
"""

from fusecopy.libfuse.loader import load

load()

from fusecopy.libfuse.afterwards import Clone, allow_clones, settle  # noqa: E402  (see load)
from fusecopy.libfuse.callers import REMEMBERED, Thread, look  # noqa: E402
from fusecopy.libfuse.entries import Entry, Opened  # noqa: E402  (pyfuse3 may be imported only after load())
from fusecopy.libfuse.files import WRITEBACK, Client, NativeFile  # noqa: E402
from fusecopy.libfuse.listings import Directory, Found, Listing  # noqa: E402
from fusecopy.libfuse.operations import (  # noqa: E402
    CopyContext,
    IoctlContext,
    Operations,
    RequestContext,
    SetattrFields,
)
from fusecopy.libfuse.session import (  # noqa: E402
    Connection,
    backing_close,
    backing_open,
    close,
    connection,
    init,
    main,
    versions,
)

__all__ = [
    "REMEMBERED",
    "WRITEBACK",
    "Client",
    "Clone",
    "Connection",
    "CopyContext",
    "Directory",
    "Entry",
    "Found",
    "IoctlContext",
    "Listing",
    "NativeFile",
    "Opened",
    "Operations",
    "RequestContext",
    "SetattrFields",
    "Thread",
    "allow_clones",
    "backing_close",
    "backing_open",
    "close",
    "connection",
    "init",
    "look",
    "main",
    "settle",
    "versions",
]
