"""The ioctls that a mount of fusecopy answers beside those of the backing: clones and extents.

The kernel refuses FICLONE, FICLONERANGE, FIDEDUPERANGE and FS_IOC_FIEMAP on FUSE before it asks the server
(fs/remap_range.c, fs/ioctl.c, up to Linux 7.2), but hands unknown numbers on, with as many bytes of argument
as the number says. A clone takes two of them, because an ioctl reaches the server with one open file: OFFER
on the source gives a token, CLONE on the destination uses it. So only who has both files open can have
anything cloned, with the access modes of these two.

The two may be on different mounts, whose filesystem behind them is one: the token says which server has the
offer, and the destination's asks that one for it (fusecopy.filesystem.peers).

Integers are in the machine's order: both sides are on one machine.
"""

import struct
from enum import IntEnum
from typing import NamedTuple


class Asked(IntEnum):
    """What the program called."""

    FICLONE = 1
    FICLONERANGE = 2
    FIDEDUPERANGE = 3


def _iowr(number: int, size: int) -> int:
    """_IOWR(0xFC, number, size) of asm-generic/ioctl.h; no driver of the kernel has that letter."""
    return 3 << 30 | size << 16 | 0xFC << 8 | number


SERVER_BYTES = 8
SECRET_BYTES = 16
TOKEN_BYTES = SERVER_BYTES + SECRET_BYTES
"""A token: which server has the offer, and what proves that it was given out for it."""

_OFFER = struct.Struct("=Q QQ")
OFFER_BYTES = _OFFER.size
_CLONE = struct.Struct(f"={TOKEN_BYTES}s Q q")
_CLONED = struct.Struct("=Q Q")

EXTENTS = 250
"""How many extents one FIEMAP takes at most: an ioctl's number has 14 bits for the size of its argument."""

FIEMAP_BYTES = 32
EXTENT_BYTES = 56
"""sizeof(struct fiemap) without extents, and of one extent, which are the same everywhere."""

MAPPED = struct.Struct("=q")
"""Before the map: the errno, because an ioctl that fails brings no bytes back."""

MAP_BYTES = MAPPED.size + FIEMAP_BYTES + EXTENTS * EXTENT_BYTES

OFFER = _iowr(1, OFFER_BYTES)
CLONE = _iowr(2, _CLONE.size)
FIEMAP = _iowr(3, MAP_BYTES)


class Offer(NamedTuple):
    """On the source: the range that a CLONE may take. Length 0 is, but for dedupe, up to the end.

    The answer is the token. For dedupe the range is checked at once, as FIDEDUPERANGE checks it.
    """

    asked: Asked
    offset: int
    length: int

    def pack(self) -> bytes:
        """As it travels."""
        return _OFFER.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> "Offer":
        """Raises ValueError for something else."""
        asked, offset, length = _OFFER.unpack(data)
        return cls(Asked(asked), offset, length)


class Clone(NamedTuple):
    """On the destination: take what was offered. `thread` is who called, for the log."""

    token: bytes
    offset: int
    thread: int

    def pack(self) -> bytes:
        """As it travels."""
        return _CLONE.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> "Clone":
        """From what came."""
        return cls(*_CLONE.unpack(data))


class Cloned(NamedTuple):
    """What a CLONE answers: for dedupe, whether the bytes differ and how many were dealt with."""

    differs: int
    deduped: int

    def pack(self) -> bytes:
        """As it travels."""
        return _CLONED.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> "Cloned":
        """From what came; the argument's buffer is longer."""
        return cls(*_CLONED.unpack_from(data))
