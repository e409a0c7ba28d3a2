"""The ioctls that a mount of fusecopy answers beside those of the backing: clones and extents.

The kernel refuses FICLONE, FICLONERANGE, FIDEDUPERANGE and FS_IOC_FIEMAP on FUSE before it asks the server
(fs/remap_range.c, fs/ioctl.c, up to Linux 7.2), but hands unknown numbers on, with as many bytes of argument
as the number says. A clone takes two of them, because an ioctl reaches the server with one open file: OFFER
on the source gives a token, CLONE on the destination uses it. So only who has both files open can have
anything cloned, with the access modes of these two.

A tree is cloned likewise: SOURCE on the open file or directory gives a token, TREE uses it on a file made for
it and open for writing, the marker, beside which the clone shall lie, and is answered when all is done.
PROGRESS tells meanwhile how far it is. A signal to the thread that waits for TREE ends the work, and what was
built is removed, the marker too.

The two of a CLONE may be on different mounts, whose filesystem behind them is one: the token says which
server has the offer, and the destination's asks that one for it (fusecopy.filesystem.peers).

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

NAME_BYTES = 255
"""NAME_MAX."""

HOWS = ("", "copy", "reflink")
"""How a tree may be carried; the empty word is as the mount's policy says."""

_TREE = struct.Struct(f"={SECRET_BYTES}s B {NAME_BYTES}s")
_PROGRESS = struct.Struct(f"={SECRET_BYTES}s Q Q")
_ANSWER = struct.Struct("=i ? 8Q 3H")
ANSWER_BYTES = 12 << 10
TEXT_BYTES = 3 << 10
"""How much of a path or sentence an answer holds."""

OFFER = _iowr(1, OFFER_BYTES)
CLONE = _iowr(2, _CLONE.size)
FIEMAP = _iowr(3, MAP_BYTES)
SOURCE = _iowr(4, SECRET_BYTES)
TREE = _iowr(5, ANSWER_BYTES)
PROGRESS = _iowr(6, _PROGRESS.size)


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


class CloneRequest(NamedTuple):
    """On the destination: take what was offered. `thread` is who called, for the log."""

    token: bytes
    offset: int
    thread: int

    def pack(self) -> bytes:
        """As it travels."""
        return _CLONE.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> "CloneRequest":
        """From what came."""
        return cls(*_CLONE.unpack(data))


class CloneReply(NamedTuple):
    """What a CLONE answers: for dedupe, whether the bytes differ and how many were dealt with."""

    differs: int
    deduped: int

    def pack(self) -> bytes:
        """As it travels."""
        return _CLONED.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> "CloneReply":
        """From what came; the argument's buffer is longer."""
        return cls(*_CLONED.unpack_from(data))


class TreeRequest(NamedTuple):
    """On the marker: clone what was offered to a new `name` beside it. `how` is one of HOWS."""

    secret: bytes
    how: str
    name: bytes

    def pack(self) -> bytes:
        """As it travels; in a buffer of ANSWER_BYTES."""
        return _TREE.pack(self.secret, HOWS.index(self.how), self.name)

    @classmethod
    def unpack(cls, data: bytes) -> "TreeRequest":
        """Raises ValueError for something else."""
        secret, how, name = _TREE.unpack_from(data)
        if how >= len(HOWS):
            raise ValueError(how)
        return cls(secret, HOWS[how], name.rstrip(b"\0"))


class Progress(NamedTuple):
    """How far the tree of a token is: entries, and bytes of their contents."""

    secret: bytes
    entries: int
    size: int

    def pack(self) -> bytes:
        """As it travels."""
        return _PROGRESS.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> "Progress":
        """From what came."""
        return cls(*_PROGRESS.unpack(data))


class Answer(NamedTuple):
    """What became of a TREE. An ioctl that fails brings no bytes back, so an error is told here.

    Attributes:
        errno: why it failed; 0 where all was done. Then nothing of it is left.
        unshared: it failed because only sharing would do.
        files, directories, links, others: entries; `others` are symbolic links and special files.
        size, shared, rewritten: bytes of the files; the last two as far as they are known.
        unprovable: files of which it is not known how much they share.
        at: the entry it failed at, relative to the source.
        cause, remedy: why, in sentences, where that is known.
    """

    errno: int
    unshared: bool
    files: int
    directories: int
    links: int
    others: int
    size: int
    shared: int
    rewritten: int
    unprovable: int
    at: bytes = b""
    cause: str = ""
    remedy: str = ""

    def pack(self) -> bytes:
        """As it travels; of a long path the end."""
        texts = [
            self.at[-TEXT_BYTES:],
            self.cause.encode(errors="replace")[:TEXT_BYTES],
            self.remedy.encode(errors="replace")[:TEXT_BYTES],
        ]
        return _ANSWER.pack(*self[:10], *map(len, texts)) + b"".join(texts)

    @classmethod
    def unpack(cls, data: bytes) -> "Answer":
        """From what came; the argument's buffer is longer."""
        *numbers, at, cause, remedy = _ANSWER.unpack_from(data)
        path, text = data[_ANSWER.size :][:at], data[_ANSWER.size + at :]
        words = [word.decode(errors="replace") for word in (text[:cause], text[cause : cause + remedy])]
        return cls._make([*numbers, path, *words])
