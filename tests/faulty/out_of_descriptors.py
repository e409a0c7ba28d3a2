"""A server that is out of descriptors once, each time that a file asks for it.

Run as `out_of_descriptors.py FILE PROGRAM mount ...`; PROGRAM is passed over. When FILE is there, the next
call of Python's that would give a descriptor takes it away, and fails.
"""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

from fusecopy.cli import main
from fusecopy.native import opening

GIVERS = ((os, "open"), (os, "dup"), (opening, "regular"), (opening, "create"))


def failing(give: Callable[..., Any], file: str) -> Callable[..., Any]:
    def given(*arguments: Any, **named: Any) -> Any:
        try:
            os.unlink(file)
        except FileNotFoundError:
            return give(*arguments, **named)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    return given


if __name__ == "__main__":
    for module, name in GIVERS:
        setattr(module, name, failing(getattr(module, name), sys.argv[1]))
    main(sys.argv[3:])
