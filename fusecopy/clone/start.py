"""Starting a command under the filter, as early as can be: what serves it is imported while it runs."""

import os
import sys

from fusecopy.clone._native import ffi, lib

TYPE_CHECKING = False  # typing itself takes longer to import than all the rest here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from fusecopy.faults.rules import Faults

CANNOT_RUN = 126
NOT_FOUND = 127
"""Exit statuses of env(1) for a command that cannot be run, and one that is not there."""

ENOENT, EBUSY = 2, 16


def run(command: "Sequence[str]", faults: "Faults | None" = None) -> "NoReturn":
    """Run `command`, serving its ioctls and those of all it starts, until it ends; then end as it did.

    Args:
        faults: what some of its calls are to be answered instead.

    Raises:
        FusecopyError: the command was not started, because its ioctls cannot be served.
    """
    words = [ffi.new("char[]", os.fsencode(word)) for word in command]
    listener, failed = ffi.new("int *"), ffi.new("int *")
    process: int = lib.fusecopy_start(
        ffi.new("char *[]", [*words, ffi.NULL]),
        lib.FUSECOPY_FAULTS if faults else lib.FUSECOPY_IOCTLS,
        listener,
        failed,
    )
    if failed[0]:
        from fusecopy.terminal import complain_of_command

        complain_of_command(command[0], failed[0])
        sys.exit(NOT_FOUND if failed[0] == ENOENT else CANNOT_RUN)
    if process < 0 or (listener[0] < 0 and (faults or listener[0] != -EBUSY)):
        raise _not_served(-min(process, listener[0]))

    from fusecopy.clone.command import attend

    attend(process, listener[0], faults)


def _not_served(code: int) -> Exception:
    from fusecopy.errors import FusecopyError

    if code == EBUSY:
        return FusecopyError(
            "the command's calls are told to another supervisor already, and there can be but one",
            "do not ask for faults under fusecopy run, shell or expect, nor where a container has one",
        )
    return FusecopyError(
        f"the command's ioctls cannot be served: seccomp user notification: {os.strerror(code)}",
        "it takes Linux 5.9 and a container that allows seccomp(2); run the command without fusecopy run",
    )
