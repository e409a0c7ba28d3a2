"""pyfuse3, with the operations it lacks.

Import this package before pyfuse3 (it imports pyfuse3 itself), derive from `Operations`, and use `init`,
`main` and `close` where you would use pyfuse3's. Added are `copy_file_range`, `lseek`, `fallocate` and
`ioctl`, a `setattr` that can tell UTIME_NOW from a time, and reads and writes that are served from a file
descriptor without passing through Python (`NativeFile`).
"""

from fusecopy.libfuse.loader import load

load()

from fusecopy.libfuse.files import WRITEBACK, Client, NativeFile  # noqa: E402  (pyfuse3 may be imported only after load())
from fusecopy.libfuse.operations import Operations, RequestContext, SetattrFields  # noqa: E402
from fusecopy.libfuse.session import Connection, close, connection, init, main, versions  # noqa: E402

__all__ = [
    "WRITEBACK",
    "Client",
    "Connection",
    "NativeFile",
    "Operations",
    "RequestContext",
    "SetattrFields",
    "close",
    "connection",
    "init",
    "main",
    "versions",
]
