"""A server that makes every copy and then denies it, so that the kernel makes it again.

Run as `server.py [--foreign] PROGRAM mount ...`; PROGRAM is passed over. With --foreign it does not tell its
log or its backing directory, as no server but fusecopy's does.
"""

import errno
import os
import sys

from fusecopy import serving
from fusecopy.cli import main
from fusecopy.filesystem import server
from fusecopy.filesystem.copies import Copies
from fusecopy.serving import CopyContext


class LateContext(CopyContext):
    """Answers when all is done, and not before."""

    def keep_turn(self) -> bool:
        return False


class DenyingCopies(Copies):
    """Carries a copy and answers ENOSYS."""

    def _let_clone(self) -> None:
        serving.allow_clones(False)

    def copy_file_range(
        self, fh_in: int, off_in: int, fh_out: int, off_out: int, length: int, ctx: CopyContext
    ) -> int:
        super().copy_file_range(fh_in, off_in, fh_out, off_out, length, LateContext(ctx._request, ctx._reply))
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


if __name__ == "__main__":
    setattr(server, "Copies", DenyingCopies)  # noqa: B010
    arguments = sys.argv[1:]
    if arguments[0] == "--foreign":
        server.Server._answers = lambda self: {}  # type: ignore[method-assign]
        del arguments[0]
    main(arguments[1:])
