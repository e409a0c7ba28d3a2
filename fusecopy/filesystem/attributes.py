"""Attributes that a request changes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyfuse3

FORGOTTEN_SECONDS = 1.0
"""How long the answer to what failed waits for the kernel to forget what it knew."""


@contextmanager
def asked_again_if_failed(number: int, pages: bool = False) -> Iterator[None]:
    """Have the kernel ask anew for attributes that a request changes, if that fails, and for bytes where it
    changes `pages`.

    It takes an error for no change (fuse_file_fallocate, fuse_do_setattr and fuse_copy_file_range, Linux 6.1
    to 7.2), but ext4 keeps what it had allocated when it ran out of room, and of several changes the first
    may have been made.
    """
    try:
        yield
    except OSError:
        if pages:
            ask_pages_again(number)
        else:
            _forgotten(number, attributes_only=True)  # which waits for nothing
        raise


def ask_pages_again(number: int) -> None:
    """Have the kernel forget the bytes and the attributes of an inode. Pages that it is reading or writing it
    waits for, perhaps until the request at hand is answered: so another thread does, and we wait a while."""
    thread = threading.Thread(target=_forgotten, args=(number,), name="forgetting", daemon=True)
    thread.start()
    thread.join(FORGOTTEN_SECONDS)


def _forgotten(number: int, attributes_only: bool = False) -> None:
    with suppress(OSError):  # the kernel has forgotten it itself: then nothing is believed of it
        pyfuse3.invalidate_inode(number, attr_only=attributes_only)
