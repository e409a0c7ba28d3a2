"""Attributes that a request changes."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyfuse3


@contextmanager
def asked_again_if_failed(number: int) -> Iterator[None]:
    """Have the kernel ask anew for attributes that a request changes, if that fails.

    It takes an error for no change (fuse_file_fallocate and fuse_do_setattr, Linux 6.1 to 7.2), but ext4
    keeps what it had allocated when it ran out of room, and of several changes the first may have been made.
    Waits for nothing: only pages would be waited for.
    """
    try:
        yield
    except OSError:
        with suppress(OSError):  # forgotten: then nothing is believed of it
            pyfuse3.invalidate_inode(number, attr_only=True)
        raise
