"""A server whose file system does what it is asked to, and says that it has failed: it fails half-way.

Run as `half_done.py PROGRAM mount ...`; PROGRAM is passed over.
"""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

from fusecopy.cli import main
from fusecopy.copying import calls
from fusecopy.filesystem import kernel


def failing(act: Callable[..., Any]) -> Callable[..., Any]:
    def acted(*arguments: Any) -> Any:
        act(*arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    return acted


if __name__ == "__main__":
    setattr(kernel, "fallocate", failing(kernel.fallocate))  # noqa: B010
    setattr(calls, "clone_range", failing(calls.clone_range))  # noqa: B010
    main(sys.argv[2:])
