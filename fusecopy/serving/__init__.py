"""pyfuse3, with the operations it lacks and a request loop that answers where it receives.

Import this package before pyfuse3 (it imports pyfuse3 itself), derive from `Operations`, whose methods are
plain ones, and use `init`, `main` and `close` where you would use pyfuse3's. Added are `copy_file_range`,
`lseek`, `fallocate` and `ioctl`, a `setattr` that can tell UTIME_NOW from a time, listings with and without
attributes, and reads and writes served from a file descriptor without passing through Python (`NativeFile`).
"""

import fusecopy.native  # noqa: F401  (before pyfuse3 is imported)
from fusecopy.native.callers import REMEMBERED, Thread, look
from fusecopy.native.deferred import (
    CHANGED,
    LATER,
    LENGTH_LIMIT_47,
    Clone,
    Series,
    allow_clones,
    allow_copies,
    barrier,
    prove_first,
    proving,
)
from fusecopy.native.entries import Entry, Opened
from fusecopy.native.files import WRITEBACK, Client, NativeFile
from fusecopy.native.listings import Directory, Listing
from fusecopy.serving.latencies import LATENCY_BOUNDS_NS, Latencies, latencies
from fusecopy.serving.operations import (
    CopyContext,
    IoctlContext,
    Operations,
    RequestContext,
    SetattrFields,
)
from fusecopy.serving.rings import RingState, ring_state
from fusecopy.serving.session import (
    Connection,
    backing_close,
    backing_open,
    close,
    connection,
    init,
    main,
    mounted_as,
    versions,
)

__all__ = [
    "CHANGED",
    "LATENCY_BOUNDS_NS",
    "LATER",
    "LENGTH_LIMIT_47",
    "REMEMBERED",
    "WRITEBACK",
    "Client",
    "Clone",
    "Connection",
    "CopyContext",
    "Directory",
    "Entry",
    "IoctlContext",
    "Latencies",
    "Listing",
    "NativeFile",
    "Opened",
    "Operations",
    "RequestContext",
    "RingState",
    "Series",
    "SetattrFields",
    "Thread",
    "allow_clones",
    "allow_copies",
    "backing_close",
    "backing_open",
    "barrier",
    "close",
    "connection",
    "init",
    "latencies",
    "look",
    "main",
    "mounted_as",
    "prove_first",
    "proving",
    "ring_state",
    "versions",
]
